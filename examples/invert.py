"""Inverts photographs from Python, saves their codes, and draws them above their reconstructions.

python examples/invert.py photograph.jpg another.jpg

Without photographs it takes portraits that come with padinv. The same on the command line, with all that many
photographs need: padinv invert photograph.jpg another.jpg -o runs/invert
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from padinv import Inversion, Inverter
from padinv.data import ImageDataModule


def portraits(count: int) -> torch.Tensor:
    """Portraits that come with padinv, (count, 3, 64, 64) in [-1, 1]."""
    data = ImageDataModule(val="congress64-val", resolution=64, num_workers=0)
    return next(iter(data.val_dataloader()))["image"][:count]


def invert(photographs: Sequence[str], model: str, refine: int, output: Path) -> Inversion:
    """Codes of photographs, and what the generator makes of them."""
    inverter = Inverter.from_pretrained(model)
    inversion = inverter.invert(list(photographs) or portraits(8), refine=refine, progress=refine > 0)
    output.mkdir(parents=True, exist_ok=True)
    inversion.draw(output / "invert.png")
    saved = inversion.save(output / "codes.safetensors")
    return Inversion.load(saved, inverter.generator)  # to the bit what was saved


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", nargs="*", help="of people, cropped to the face")
    parser.add_argument("--model", default="congress64", help="name, folder or checkpoint")
    parser.add_argument("--refine", type=int, default=0, help="steps of optimization")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="folder for what is written")
    options = parser.parse_args()
    inversion = invert(options.photographs, options.model, options.refine, options.output)
    print(f"{len(inversion)} codes of {inversion.code.w_plus[0].numel()} latents, and padding")
    print(options.output / "invert.png")
