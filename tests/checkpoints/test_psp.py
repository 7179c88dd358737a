from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import formats
from conformance import assert_agrees, make_input
from padinv import PadInvEncoder, load_encoder, load_generator
from padinv.exceptions import CheckpointError

AVERAGE = torch.linspace(-1, 1, 512)


def save(path: Path, encoder: dict[str, torch.Tensor], **more: Any) -> Path:
    torch.save({"state_dict": {f"encoder.{key}": tensor for key, tensor in encoder.items()}, **more}, path)
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> PadInvEncoder:
    path = save(
        tmp_path_factory.mktemp("psp") / "psp.pt",
        formats.state("psp", "encoder"),
        latent_avg=AVERAGE.repeat(10, 1),
        opts={"encoder_type": "GradualStyleEncoder", "start_from_latent_avg": True, "output_size": 64},
    )
    encoder = load_encoder(path)
    path.unlink()
    return encoder


def test_agrees_with_the_other_implementation(encoder: PadInvEncoder) -> None:
    with torch.inference_mode():
        code = encoder(make_input("image", (1, 3, 256, 256), 0.5).clamp(-1, 1))
    assert_agrees(code.w_plus - AVERAGE, formats.output("psp")["offsets"])
    assert code.padding is None
    assert torch.equal(encoder.w_avg, AVERAGE)


@pytest.fixture(scope="module")
def small() -> dict[str, torch.Tensor]:
    """The encoder with one channel in 16, which has all the structure."""
    return formats.state("psp", "encoder", divide=16)


def test_e4e_adds_its_first_offset_to_all_others(tmp_path: Path, small: dict[str, torch.Tensor]) -> None:
    image, average = torch.randn(1, 3, 256, 256), torch.zeros(32)
    offsets = {}
    for kind in ("GradualStyleEncoder", "Encoder4Editing"):
        path = save(tmp_path / "e.pt", small, latent_avg=average, opts={"encoder_type": kind})
        with torch.inference_mode():
            offsets[kind] = load_encoder(path)(image).w_plus
    first, others = offsets["GradualStyleEncoder"].split([1, 9], dim=1)
    torch.testing.assert_close(offsets["Encoder4Editing"], torch.cat([first, first + others], dim=1))


def test_mean_latent_from_elsewhere(tmp_path: Path, small: dict[str, torch.Tensor]) -> None:
    path = save(tmp_path / "e.pt", small)
    with pytest.raises(CheckpointError, match="without its average latent"):
        load_encoder(path)
    assert torch.equal(load_encoder(path, w_avg=torch.ones(32)).w_avg, torch.ones(32))
    path = save(path, small, latent_avg=torch.ones(32), opts={"start_from_latent_avg": False})
    assert torch.equal(load_encoder(path).w_avg, torch.zeros(32))
    with pytest.raises(CheckpointError, match="no single mean latent"):
        load_encoder(save(path, small, latent_avg=torch.arange(64.0).view(2, 32)))


@pytest.mark.parametrize(
    ("change", "opts", "message"),
    [
        ({}, {"encoder_type": "BackboneEncoderUsingLastLayerIntoW"}, "type BackboneEncoderUsingLastLayerIntoW is not"),
        ({"input_layer.0.weight": torch.zeros(4, 6, 3, 3)}, {}, "reads 6 channels, as ReStyle's do"),
    ],
)
def test_other_encoders_are_named(
    tmp_path: Path, small: dict[str, torch.Tensor], change: dict[str, Any], opts: dict[str, Any], message: str
) -> None:
    path = save(tmp_path / "e.pt", small | change, latent_avg=torch.zeros(32), opts=opts)
    with pytest.raises(CheckpointError, match=message):
        load_encoder(path)


def test_decoder_is_the_generator(tmp_path: Path) -> None:
    decoder = {f"decoder.{key}": tensor for key, tensor in formats.state("rosinality", "g_ema").items()}
    torch.save({"state_dict": decoder, "latent_avg": torch.ones(10, 64)}, tmp_path / "psp.pt")
    generator = load_generator(tmp_path / "psp.pt")
    assert_agrees(generator.synthesis(formats.inputs()["w_plus"]), formats.output("rosinality")["image"])
    assert torch.equal(generator.w_avg, torch.ones(64))
