"""Finds directions of editing in closed form (SeFa), saves them, and moves a portrait along each.

python examples/direction.py photograph.jpg

Without a photograph it takes a portrait that comes with padinv. The same on the command line:
padinv directions photograph.jpg --find sefa --layers 0-5 --count 4 -o runs/directions
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torchvision.utils import save_image

from padinv import Inverter
from padinv.data import ImageDataModule
from padinv.editing import load_directions, save_directions, sefa
from padinv.pictures import contact_sheet

STRENGTHS = (-4.0, -2.0, 0.0, 2.0, 4.0)
"""Standard deviations of the generator's own latents."""


def directions(photograph: str | None, model: str, count: int, output: Path) -> Path:
    """Draws a row for each direction, from one end to the other."""
    inverter = Inverter.from_pretrained(model)
    data = ImageDataModule(val="congress64-val", resolution=64, num_workers=0)
    code = inverter.invert(photograph or next(iter(data.val_dataloader()))["image"][:1]).code
    output.mkdir(parents=True, exist_ok=True)
    file = save_directions(sefa(inverter.generator, layers="0-5", count=count), output / "directions.safetensors")
    found = load_directions(file, inverter.generator)
    rows = [inverter.reconstruct(direction.apply(code, torch.tensor(STRENGTHS))) for direction in found.values()]
    print(f"rows: {', '.join(found)}; columns: strengths {STRENGTHS}")
    save_image(contact_sheet(rows), output / "direction.png")
    return output / "direction.png"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photograph", nargs="?", help="of a person, cropped to the face")
    parser.add_argument("--model", default="congress64", help="name, folder or checkpoint")
    parser.add_argument("--count", type=int, default=4, help="how many directions")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="folder for what is written")
    options = parser.parse_args()
    print(directions(options.photograph, options.model, options.count, options.output))
