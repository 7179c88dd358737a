"""Networks from files are float32 on the CPU, and of finite numbers, whatever else the process or the file says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import formats
from padinv import Inverter, PadInvEncoder, load_discriminator, load_encoder, load_generator
from padinv.checkpoints import fingerprint, save_network
from padinv.exceptions import CheckpointError

LOADERS = (load_generator, load_encoder, load_discriminator)


@pytest.fixture(params=[torch.float64, torch.float16, torch.bfloat16, "meta"])
def default(request: pytest.FixtureRequest) -> Iterator[Any]:
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    if request.param == "meta":
        torch.set_default_device("meta")
    else:
        torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(dtype)
    torch.set_default_device(None if device.type == "cpu" else device)
    # torch 2.7 then has None where it looks for a device, in every later test.
    if getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None) is None:
        vars(torch._GLOBAL_DEVICE_CONTEXT).pop("device_context", None)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("files")
    formats.write_ada(folder / "ada.pkl", G_ema=formats.persistent(formats.small_ada()))
    torch.save({"g_ema": formats.small_rosinality()}, folder / "rosinality.pt")  # without w_avg, which is estimated
    return folder, fingerprints(folder)


def fingerprints(folder: Path) -> list[str]:
    networks = [load("congress64") for load in LOADERS]
    networks += [load_generator(path) for path in sorted(folder.iterdir())]
    for network in networks:
        tensors = [*network.parameters(), *network.buffers()]
        assert {tensor.dtype for tensor in tensors} <= {torch.float32, torch.int64}
        assert {tensor.device.type for tensor in tensors} == {"cpu"}
    return [fingerprint(network) for network in networks]


def test_defaults_of_torch_change_nothing(before: tuple[Path, list[str]], default: Any) -> None:
    folder, expected = before
    assert fingerprints(folder) == expected
    photograph = torch.linspace(-1, 1, 3 * 64 * 64, dtype=torch.float32, device="cpu").view(1, 3, 64, 64)
    assert Inverter.from_pretrained("congress64").invert(photograph).images.dtype == torch.float32


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize("key", ["synthesis.const", "w_avg", "synthesis.blocks.8.to_rgb.bias"])
def test_weights_are_finite(tmp_path: Path, key: str, bad: float) -> None:
    generator = load_generator("congress64").double()
    generator.state_dict()[key].view(-1)[-1] = bad
    path = save_network(generator, tmp_path / "g.safetensors")
    with pytest.raises(CheckpointError, match=rf"g\.safetensors holds NaN or infinite numbers in '{key}'"):
        load_generator(path)


def test_a_mean_latent_is_finite(tmp_path: Path) -> None:
    generator = load_generator("congress64")
    path = save_network(
        PadInvEncoder(generator.code_shape, resolution=64, depth=18, width=2), tmp_path / "e.safetensors"
    )
    with pytest.raises(CheckpointError, match="w_avg holds NaN or infinite numbers"):
        load_encoder(path, w_avg=generator.w_avg + math.nan)


def test_no_weights_are_drawn_to_be_replaced(before: tuple[Path, list[str]]) -> None:
    state = torch.get_rng_state()
    fingerprints(before[0])
    assert torch.equal(torch.get_rng_state(), state)
