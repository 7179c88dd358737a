"""Draws docs/figures/congress64-samples.png and, given what the generator was trained on, congress64-neighbours.png.

    python docs/figures/draw_samples.py [PORTRAITS ...]

The samples are those of seeds 0 to 63, ψ = 1, constant noise. The neighbour of a sample is the training picture nearest
to it in AlexNet's features, mirrored or not.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import save_image

from padinv import load_generator
from padinv.gan.projected import ImageNetFeatures
from padinv.images import load_tensor
from padinv.pictures import contact_sheet
from padinv.sources.opening import open_source

FIGURES = Path(__file__).parent
COUNT, COLUMNS, NEIGHBOURS = 64, 16, 16


def describe(images: Tensor, network: ImageNetFeatures) -> Tensor:
    """What AlexNet sees in images (B, 3, H, W), at 4 x 4 places: (B, N), of length 1."""
    enlarged = F.interpolate(images, size=(128, 128), mode="bilinear", align_corners=False)
    places = [F.adaptive_avg_pool2d(x, 4).flatten(1) for x in network(enlarged)[2:]]
    return F.normalize(torch.cat(places, dim=1), dim=1)


@torch.inference_mode()
def main(portraits: list[str]) -> None:
    """Draws the samples, and their neighbours among the portraits."""
    generator = load_generator("congress64")
    width = generator.config["z_dim"]
    latents = [torch.randn(1, width, generator=torch.Generator().manual_seed(seed)) for seed in range(COUNT)]
    samples = generator(torch.cat(latents)).clamp(-1, 1)
    rows = list(samples.split(COLUMNS))
    save_image(contact_sheet(rows, tile=64), FIGURES / "congress64-samples.png")
    if not portraits:
        return
    source, network = open_source(portraits), ImageNetFeatures()
    images = torch.stack([load_tensor(source.read(i), generator.resolution) for i in range(len(source))])
    images = torch.cat([images, images.flip(-1)])
    known = torch.cat([describe(batch, network) for batch in images.split(64)])
    shown = samples[:NEIGHBOURS]
    nearest = (describe(shown, network) @ known.T).argmax(dim=1)
    save_image(contact_sheet([shown, images[nearest]], tile=64), FIGURES / "congress64-neighbours.png")


if __name__ == "__main__":
    main(sys.argv[1:])
