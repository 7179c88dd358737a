"""A small model in a folder, photographs beside it, and the command line as a function."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from command_files import Command
from padinv import Inverter, PadInvEncoder, load_encoder, load_generator
from padinv.checkpoints import save_network
from padinv.cli import main
from padinv.editing import save_directions, sefa


@pytest.fixture(scope="session")
def model(generator_file: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """generator.safetensors and encoder.safetensors, of 32 px, with features at 16 px."""
    folder = tmp_path_factory.mktemp("model")
    shutil.copy(generator_file, folder / "generator.safetensors")
    torch.manual_seed(3)
    generator = load_generator(generator_file)
    options = {"resolution": 32, "depth": 18, "width": 4, "feature_resolutions": [16]}
    encoder = PadInvEncoder(generator.code_shape, **options, w_avg=generator.w_avg)
    torch.nn.init.normal_(encoder.feature_heads["16"].output.weight, std=0.1)
    save_network(encoder.eval(), folder / "encoder.safetensors")
    return folder


@pytest.fixture
def padinv(model: Path) -> Command:
    """The command line with the small model: ``padinv("invert", photograph, "-o", folder)``."""

    def command(name: str, *args: object) -> int:
        return main([name, "--model", str(model), "--device", "cpu", *map(str, args)])

    return command


@pytest.fixture(scope="session")
def inverter(model: Path) -> Inverter:
    """The small model in Python, which makes what commands should have written."""
    return Inverter.from_pretrained(model, device="cpu")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Three smooth photographs of different shapes: a.png, b.jpg and c.png."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    random = np.random.default_rng(1)
    for name, size in (("a.png", (40, 40)), ("b.jpg", (64, 48)), ("c.png", (33, 50))):
        small = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        small.resize(size, Image.Resampling.BICUBIC).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def directions_file(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four directions of the small generator: sefa-0 to sefa-3."""
    generator = load_generator(model / "generator.safetensors")
    return save_directions(sefa(generator, count=4), tmp_path_factory.mktemp("directions") / "directions.safetensors")


@pytest.fixture(scope="session")
def other_code(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A code of a generator of the same shape, but with other weights."""
    generator = load_generator(model / "generator.safetensors")
    generator.w_avg.add_(1)
    inverter = Inverter(load_encoder(model / "encoder.safetensors"), generator, device="cpu")
    return inverter.invert(torch.zeros(3, 32, 32)).save(tmp_path_factory.mktemp("other") / "code.safetensors")
