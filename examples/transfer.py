"""Learns an edit from one photograph before and after it, and does it to others.

python examples/transfer.py before.jpg after.jpg target.jpg another.jpg

Without photographs it makes an edit to learn, a portrait lit from the left, and does it to portraits that come with
padinv. The same on the command line: padinv transfer before.jpg after.jpg target.jpg -o runs/transfer
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torchvision.utils import save_image

from padinv import Inverter
from padinv.data import ImageDataModule
from padinv.editing import transfer
from padinv.pictures import contact_sheet

STRENGTHS = (0.5, 1.0, 1.5)


def relit(image: torch.Tensor) -> torch.Tensor:
    """A portrait (1, 3, H, W) in [-1, 1], lighter on the left and darker on the right."""
    light = torch.linspace(1.4, 0.4, image.shape[-1])
    return ((image + 1) * light - 1).clamp(-1, 1)


def transfers(photographs: Sequence[str], model: str, output: Path) -> Path:
    """Draws the targets, then a row for each strength."""
    inverter = Inverter.from_pretrained(model)
    if photographs:
        before, after, *targets = inverter.invert(list(photographs)).code
    else:
        data = ImageDataModule(val="congress64-val", resolution=64, num_workers=0)
        portraits = next(iter(data.val_dataloader()))["image"][:6]
        before, after, *targets = inverter.invert(torch.cat([portraits[:1], relit(portraits[:1]), portraits[1:]])).code
    rows = [
        torch.cat([inverter.reconstruct(transfer(before, after, target, strength)) for target in [before, *targets]])
        for strength in (0.0, *STRENGTHS)
    ]
    print(f"rows: the pair's first picture and the targets; edited with the strengths {STRENGTHS}")
    output.mkdir(parents=True, exist_ok=True)
    save_image(contact_sheet(rows), output / "transfer.png")
    return output / "transfer.png"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", nargs="*", help="before, after, then one or more targets")
    parser.add_argument("--model", default="congress64", help="name, folder or checkpoint")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="folder for what is written")
    options = parser.parse_args()
    print(transfers(options.photographs, options.model, options.output))
