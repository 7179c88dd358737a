"""The public names are an inventory, and importing them costs nothing before they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import padinv


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout.strip()


def test_inventory() -> None:
    assert padinv.__all__ == [
        "Checkpoint",
        "Discriminator",
        "Generator",
        "ImageDataModule",
        "Inversion",
        "InversionCode",
        "Inverter",
        "PadInvEncoder",
        "PadInvModule",
        "PaddingCode",
        "__version__",
        "load_discriminator",
        "load_encoder",
        "load_generator",
        "open_checkpoint",
    ]
    assert dir(padinv) == padinv.__all__


@pytest.mark.parametrize("name", padinv.__all__)
def test_names_are_there(name: str) -> None:
    assert getattr(padinv, name) is getattr(padinv, name)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        padinv.Nothing  # noqa: B018


def test_import_is_light() -> None:
    seconds = float(
        run(
            "import time, torch, pytorch_lightning\n"
            "start = time.process_time()\n"
            "import padinv\n"
            "print(time.process_time() - start)"
        )
    )
    assert seconds < 0.5


def test_what_is_imported_before_it_is_used() -> None:
    """Networks and what works on them need no Lightning; nothing needs what is imported where it is used."""
    networks = ["Generator", "PadInvEncoder", "Discriminator", "PaddingCode", "Inverter", "load_encoder"]
    training = ["PadInvModule", "ImageDataModule"]
    # Lightning and torchmetrics look whether torchvision is there by importing it; nothing of ours does.
    heavy = ["insightface", "onnxruntime", "onnx2torch", "wandb", "lpips"]
    printed = run(
        "import padinv, padinv.editing, padinv.losses, padinv.pictures, sys\n"
        f"[getattr(padinv, n) for n in {networks}]\n"
        "print('pytorch_lightning' in sys.modules)\n"
        f"[getattr(padinv, n) for n in {training}]; print([m for m in {heavy} if m in sys.modules])"
    )
    assert printed.splitlines() == ["False", "[]"]
