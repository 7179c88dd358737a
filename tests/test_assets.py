"""What comes with the wheel."""

from __future__ import annotations

import re
from importlib.metadata import files as installed_files
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from padinv import ImageDataModule, Inverter, load_discriminator, load_generator
from padinv.checkpoints import fingerprint
from padinv.checkpoints.cache import hash_file

PACKAGE = Path(str(files("padinv")))


def test_wheel_stays_small() -> None:
    """The weights hardly compress: what lies in the package is about what the wheel weighs."""
    assert sum(path.stat().st_size for path in PACKAGE.rglob("*") if path.suffix != ".pyc") < 40e6


def test_bundled_gan() -> None:
    """Codes and runs name their generator by its fingerprint: it must not change unnoticed."""
    generator, discriminator = load_generator("congress64"), load_discriminator("congress64")
    assert (fingerprint(generator), fingerprint(discriminator)) == ("f4109d760d504907", "10ab18979fc4b1f0")
    torch.manual_seed(0)
    with torch.inference_mode():
        samples = generator(torch.randn(16, generator.config["z_dim"]), truncation_psi=0.7)
    assert samples.shape[1:] == (3, discriminator.resolution, discriminator.resolution) == (3, 64, 64)
    assert 0.1 < samples.std() < 1.0


def test_bundled_encoder() -> None:
    """It is for the bundled generator, and its reconstructions are those of the documentation."""
    inverter = Inverter.from_pretrained("congress64")
    data = ImageDataModule(val="congress64-val", resolution=64, batch_size=32, num_workers=0)
    data.setup("validate")
    inversion = inverter.invert(next(iter(data.val_dataloader()))["image"])
    assert len(inversion) == 32
    assert (inversion.images - inversion.targets).square().mean().item() < 0.0071


NOTICE = Path(__file__).parents[1] / "NOTICE"


def test_weights_of_others_are_in_the_ledger() -> None:
    """The notice has the hash of the very file, and the words of its licence."""
    notice = NOTICE.read_text(encoding="utf-8")
    path = PACKAGE / "assets" / "alexnet-features.safetensors"
    assert f"{path.name} holds" in notice
    assert f"{hash_file(path)} (what is bundled)" in notice
    assert "Soumith Chintala" in notice
    assert "Redistributions in binary form must reproduce the above copyright" in re.sub(r"\s+", " ", notice)
    assert not list(PACKAGE.rglob("*.onnx"))  # face networks: nobody states what they were trained on


def test_the_notice_is_in_the_wheel() -> None:
    installed = installed_files("padinv")
    if installed is None or not any(path.name == "alexnet-features.safetensors" for path in installed):
        pytest.skip("padinv is not installed from a wheel of this state")
    assert any(path.name == "NOTICE" for path in installed)
