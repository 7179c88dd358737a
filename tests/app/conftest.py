"""A studio with a small model in a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from padinv import Inverter, PadInvEncoder, load_generator
from padinv.app import Limits, Studio
from padinv.checkpoints import save_network


@pytest.fixture(scope="session")
def studio(generator_file: str, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """Of 32 px, with three of SeFa's directions."""
    folder = tmp_path_factory.mktemp("studio")
    shutil.copy(generator_file, folder / "generator.safetensors")
    torch.manual_seed(3)
    generator = load_generator(generator_file)
    encoder = PadInvEncoder(generator.code_shape, resolution=32, depth=18, width=4, w_avg=generator.w_avg).eval()
    save_network(encoder, folder / "encoder.safetensors")
    inverter = Inverter(encoder, generator, device="cpu")
    return Studio(inverter, str(folder), limits=Limits(megabytes=1, megapixels=2, steps=40))


@pytest.fixture
def photograph() -> Image.Image:
    """A smooth one of 60 × 40 px."""
    small = np.random.default_rng(2).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((60, 40), Image.Resampling.BICUBIC)


@pytest.fixture
def upload(photograph: Image.Image, tmp_path: Path) -> Path:
    """It in a file."""
    photograph.save(tmp_path / "mine.png")
    return tmp_path / "mine.png"
