"""A small GAN in files, and a folder of pictures, behind the real loading paths."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# Before torch is imported, and for the processes that tests start: with more than one thread each, processes that run
# at the same time wait for each other's threads, which costs several times the work on networks as small as these.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from padinv import Discriminator, Generator
from padinv.checkpoints import estimate_w_avg, save_network
from padinv.cli import main

settings.register_profile("padinv", deadline=None)  # how long an example takes says more about the machine
settings.load_profile("padinv")

CHANNELS = {4: 12, 8: 10, 16: 8, 32: 6}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that fork come first: after a backward pass in this process, its children cannot have one.

    On a GPU a warning, such as a driver's, is no failure: it is shown, and the test goes on.
    """
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.add_marker(pytest.mark.filterwarnings("default"))
    items.sort(key=lambda item: item.get_closest_marker("forks") is None)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU; and a GPU, whose tests are marked ``gpu`` and run where there is one, in float32 without TF32."""
    if request.param == "cpu":
        return torch.device("cpu")
    return gpu_or_skip()


@pytest.fixture
def gpu() -> torch.device:
    """A GPU alone. With PADINV_TEST_GPU=cpu the CPU plays its part, which tries the tests themselves."""
    return gpu_or_skip()


def gpu_or_skip() -> torch.device:
    if (stand_in := os.environ.get("PADINV_TEST_GPU")) is not None:
        return torch.device(stand_in)
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda")


@pytest.fixture(scope="session")
def generator_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(1)
    generator = Generator(32, z_dim=8, w_dim=16, mapping_layers=2, channels=CHANNELS)
    generator.w_avg.copy_(estimate_w_avg(generator, 100))
    return str(save_network(generator, tmp_path_factory.mktemp("generator") / "tiny.safetensors"))


@pytest.fixture(scope="session")
def discriminator_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(2)
    discriminator = Discriminator(32, channels=CHANNELS)
    return str(save_network(discriminator, tmp_path_factory.mktemp("discriminator") / "tiny.safetensors"))


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty smooth 40×40 pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for i in range(20):
        small = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        small.resize((40, 40), Image.Resampling.BICUBIC).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generator_file: str, picture_folder: Path) -> Any:
    """Runs the quickstart preset in a temporary folder on the small GAN."""
    monkeypatch.chdir(tmp_path)
    small = [
        f"--model.generator={generator_file}",
        "--model.encoder.resolution=32",
        "--model.encoder.width=4",
        "--model.lambda_per=0",
        "--model.perceptual_loss=null",
        "--model.report_lpips=false",  # to build its network takes longest of all
        "--model.test_features=null",
        f"--data.train={picture_folder}",
        f"--data.val={picture_folder}",
        "--data.batch_size=4",
        "--data.resolution=32",
        "--trainer.log_every_n_steps=1",
        "--schedule.images=8",
        "--schedule.validate_every=8",
    ]

    def command(subcommand: str, *options: str) -> int:
        return main([subcommand, "--config", "quickstart", *small, *options])

    return command
