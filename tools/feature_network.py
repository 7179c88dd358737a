"""Train a small network whose features judge generators: it never saw a discriminator, and needs no download.

    python tools/feature_network.py DATA OUT.safetensors [--task instances|labels] [--minutes 5]

DATA holds `labels.csv` (file, person, gender, birth_year, kind) and the pictures it names, under `train/` and `test/`.

- instances: two views of one portrait are to be alike, and unlike those of other portraits (Chen et al. 2020, SimCLR);
- labels: gender, year of birth and kind (colour or grey) are to be told, as far as they are known.

Views are moved, scaled, stretched and recoloured, but neither blurred nor made noisy, as the network should see that.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from padinv.gan.augmentation import AdaptiveAugmentation
from padinv.images import load_tensor
from padinv.metrics import RandomFeatures

RESOLUTION = 64
OUTPUTS = {"instances": 64, "labels": 3}


class Network(nn.Module):
    """The backbone, whose maps are the features, and a head that only training needs.

    Training starts from random features, which tell more than one would think, and need no normalization.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.backbone = RandomFeatures(width=width)
        hidden = 8 * width
        self.head = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, 3, H, W) to (B, outputs)."""
        out: Tensor = self.head(self.backbone(images)[-1].mean(dim=(2, 3)))
        return out


def load_features(path: Path) -> RandomFeatures:
    """The backbone that this tool wrote, for `padinv.metrics.FrechetDistance`."""
    with safe_open(path, framework="pt") as file:
        backbone = RandomFeatures(width=int(file.metadata()["width"]))
        backbone.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    return backbone


def read(data: Path, folder: str) -> tuple[Tensor, Tensor]:
    """Portraits (N, 3, 64, 64), and labels (N, 3): gender and kind of -1 or 1, birth year about 0; NaN if unknown."""
    with (data / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["file"].startswith(f"{folder}/")]
    images = torch.stack([load_tensor((data / row["file"]).read_bytes(), RESOLUTION) for row in rows])
    unknown = float("nan")
    labels = [
        (
            {"female": -1.0, "male": 1.0}.get(row["gender"], unknown),
            {"gray": -1.0, "color": 1.0}[row["kind"]],
            (int(row["birth_year"]) - 1955) / 12 if row["birth_year"] else unknown,
        )
        for row in rows
    ]
    return images, torch.tensor(labels)


def instance_loss(network: nn.Module, view: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Among all views of the batch, the other one of the same portrait is to be told (NT-Xent, temperature 0.2)."""
    codes = F.normalize(network(torch.cat([view(images), view(images)])), dim=1)
    likeness = (codes @ codes.T / 0.2).fill_diagonal_(float("-inf"))
    return F.cross_entropy(likeness, torch.arange(len(codes)).roll(len(images)))


def label_loss(network: nn.Module, view: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Squared errors of what is known."""
    found: Tensor = network(view(images))
    return (found - labels)[labels.isfinite()].square().mean()


LOSSES = {"instances": instance_loss, "labels": label_loss}


@torch.no_grad()
def report(network: nn.Module, task: str, view: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> str:
    """How well the network does on portraits of people that it has not seen."""
    if task == "labels":
        errors = network(images) - labels
        gender, kind = ((errors[:, i].abs() < 1)[labels[:, i].isfinite()].float().mean() for i in range(2))
        return f"gender {gender:.0%}, kind {kind:.0%}, birth year ±{12 * errors[:, 2].abs().nanmean():.1f} years"
    codes = F.normalize(network(torch.cat([view(images), view(images)])), dim=1).chunk(2)
    found = (codes[0] @ codes[1].T).argmax(dim=1) == torch.arange(len(images))
    return f"{found.float().mean():.0%} of {len(images)} second views found"


def main(args: list[str] | None = None) -> None:
    """Parse the command line, train, and write the backbone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--task", choices=LOSSES, default="instances")
    parser.add_argument("--minutes", type=float, default=5, help="of a processor's time")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(args)

    torch.manual_seed(options.seed)
    images, labels = read(options.data, "train")
    network = Network(options.width, OUTPUTS[options.task])
    view = AdaptiveAugmentation(probability=0.8, without=["rotate90", "rotate", "luma_flip", "hue"])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    start = last = time.process_time()
    steps = 0
    while (share := (time.process_time() - start) / (60 * options.minutes)) < 1:
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1, (steps + 1) / 50) * (1 - share)
        chosen = torch.randperm(len(images))[: options.batch]
        loss = LOSSES[options.task](network, view, images[chosen], labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        if time.process_time() - last > 30:
            last = time.process_time()
            print(f"{share:.0%}, step {steps}: loss {loss.item():.3f}", flush=True)
    print(f"{steps} steps; {report(network, options.task, view, *read(options.data, 'test'))}")
    state = {key: tensor.contiguous() for key, tensor in network.backbone.state_dict().items()}
    save_file(state, options.out, metadata={"width": str(options.width)})


if __name__ == "__main__":
    main()
