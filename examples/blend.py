"""Gives some portraits the contour and pose of another: its padding, their latents.

python examples/blend.py contour.jpg details.jpg another.jpg

Without photographs it takes portraits that come with padinv. The same on the command line:
padinv blend contour.jpg details.jpg another.jpg -o runs/blend
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from torchvision.utils import save_image

from padinv import Inverter
from padinv.data import ImageDataModule
from padinv.editing import blend
from padinv.pictures import contact_sheet


def blends(photographs: Sequence[str], model: str, output: Path) -> Path:
    """Draws the details' portraits, the same with the contour's rings up to 8 px, and with all of them."""
    inverter = Inverter.from_pretrained(model)
    data = ImageDataModule(val="congress64-val", resolution=64, num_workers=0)
    inversion = inverter.invert(list(photographs) or next(iter(data.val_dataloader()))["image"][:6])
    contour, details = inversion.code[0], inversion.code[1:]
    coarse = inverter.reconstruct(blend(contour, details, rings=[4, 8]))
    full = inverter.reconstruct(blend(contour, details))
    print("rows: the contour, repeated; the details; blended with rings up to 8 px; with all rings")
    output.mkdir(parents=True, exist_ok=True)
    repeated = inversion.images[:1].expand(len(details), -1, -1, -1)
    save_image(contact_sheet([repeated, inversion.images[1:], coarse, full]), output / "blend.png")
    return output / "blend.png"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", nargs="*", help="the contour, then one or more for the details")
    parser.add_argument("--model", default="congress64", help="name, folder or checkpoint")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="folder for what is written")
    options = parser.parse_args()
    print(blends(options.photographs, options.model, options.output))
