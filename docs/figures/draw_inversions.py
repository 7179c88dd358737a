"""Draws docs/figures/congress64-encoder.png: photographs, reconstructions, and refined ones.

python docs/figures/draw_inversions.py
"""

from __future__ import annotations

from pathlib import Path

from torchvision.utils import save_image

from padinv import ImageDataModule, Inverter
from padinv.pictures import contact_sheet

if __name__ == "__main__":
    data = ImageDataModule(val="congress64-val", resolution=64, batch_size=32, num_workers=0)
    data.setup("validate")
    images = next(iter(data.val_dataloader()))["image"][20:32]  # four in colour, eight grey
    inverter = Inverter.from_pretrained("congress64")
    rows = [images, inverter.invert(images).images, inverter.invert(images, refine=200, progress=True).images]
    save_image(contact_sheet(rows, tile=96), Path(__file__).parent / "congress64-encoder.png")
