"""What comes with the wheel."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import torch

from padinv import ImageDataModule, load_discriminator, load_generator

PACKAGE = Path(str(files("padinv")))


def test_wheel_stays_small() -> None:
    """The weights hardly compress: what lies in the package is about what the wheel weighs."""
    assert sum(path.stat().st_size for path in PACKAGE.rglob("*") if path.suffix != ".pyc") < 25e6


def test_bundled_gan_belongs_together() -> None:
    """Its discriminator finds photographs more real than its generator's samples."""
    generator, discriminator = load_generator("congress64"), load_discriminator("congress64")
    torch.manual_seed(0)
    data = ImageDataModule(val="congress64-val", resolution=64, batch_size=16, num_workers=0)
    photographs = next(iter(data.val_dataloader()))["image"]
    with torch.inference_mode():
        samples = generator(torch.randn(16, generator.config["z_dim"]), truncation_psi=0.7)
        assert discriminator(photographs).mean() > discriminator(samples).mean()
    assert generator.resolution == discriminator.resolution == 64
    assert samples.isfinite().all()
    assert 0.1 < samples.std() < 1.0
