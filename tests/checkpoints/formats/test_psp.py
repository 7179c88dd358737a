from __future__ import annotations

from argparse import Namespace
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
        ({}, {"encoder_type": "WEncoder"}, "type WEncoder is not among"),
        ({}, {"learn_in_w": True}, "trained with learn_in_w, for one latent"),
        ({"input_layer.0.weight": torch.zeros(4, 6, 3, 3)}, {}, "reads 6 channels, as ReStyle's do"),
        ({"input_layer.0.weight": torch.zeros(4, 19, 3, 3)}, {}, "19 channels, as those of sketches and segmentation"),
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


def test_an_encoder_of_one_latent_is_named(tmp_path: Path, small: dict[str, torch.Tensor]) -> None:
    one = {key: tensor for key, tensor in small.items() if key.startswith(("input_layer", "body"))}
    path = save(tmp_path / "w.pt", one | {"linear.weight": torch.zeros(32, 32)}, latent_avg=torch.zeros(32))
    with pytest.raises(CheckpointError, match="predicts latents from one last layer, as those into W do"):
        load_encoder(path)


def test_networks_for_faces_are_no_encoders(tmp_path: Path, small: dict[str, torch.Tensor]) -> None:
    """ArcFace's, which training scripts of pSp have beside their encoder."""
    arcface = {key: tensor for key, tensor in small.items() if key.startswith(("input_layer", "body"))}
    torch.save(arcface | {"output_layer.3.weight": torch.zeros(512, 512)}, tmp_path / "model_ir_se50.pth")
    with pytest.raises(CheckpointError, match="holds an ArcFace backbone, but padinv works with StyleGAN2 alone"):
        load_encoder(tmp_path / "model_ir_se50.pth")


def test_options_in_a_namespace(tmp_path: Path, small: dict[str, torch.Tensor]) -> None:
    for opts in (Namespace(encoder_type="Encoder4Editing", start_from_latent_avg=False), None):
        path = save(tmp_path / "e.pt", small, latent_avg=torch.ones(32), opts=opts)
        encoder = load_encoder(path)
        assert (encoder.first_for_all, encoder.w_avg.sum()) == ((True, 0) if opts else (False, 32))


def test_which_encoder_it_is_without_options(
    tmp_path: Path, small: dict[str, torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    average = torch.zeros(32)
    for more in ({"discriminator_state_dict": {"a": average}}, {"opts": {"w_discriminator_lambda": 0.1}}):
        assert load_encoder(save(tmp_path / "e4e.pt", small, latent_avg=average, **more)).first_for_all
    assert not caplog.messages
    for more in ({}, {"opts": {"output_size": 64}}):
        caplog.clear()
        assert not load_encoder(save(tmp_path / "psp.pt", small, latent_avg=average, **more)).first_for_all
        assert "it is taken for pSp's GradualStyleEncoder" in caplog.text
    opts = {"encoder_type": "GradualStyleEncoder", "learn_in_w": False}
    caplog.clear()
    path = save(tmp_path / "psp.pt", small, latent_avg=average, opts=opts, discriminator_state_dict={"a": average})
    assert not load_encoder(path).first_for_all
    assert not caplog.messages


@pytest.mark.parametrize(("step", "used"), [(0, 1), (25, 3), (29, 3), (90, 10), (500, 10), (None, 10)])
def test_heads_of_e4e_that_are_not_trained_yet(
    tmp_path: Path, small: dict[str, torch.Tensor], step: int | None, used: int
) -> None:
    """Training adds a head at each step of progressive_steps; those to come leave the first latent as it is."""
    opts = {"encoder_type": "Encoder4Editing", "progressive_steps": [0, 20, 25, 30, 40, 50, 60, 70, 80, 90]}
    image, average = torch.randn(1, 3, 256, 256), torch.zeros(32)
    whole = load_encoder(save(tmp_path / "e.pt", small, latent_avg=average, opts=opts))
    stage = load_encoder(save(tmp_path / "e.pt", small, latent_avg=average, opts=opts, global_step=step))
    with torch.inference_mode():
        expected, actual = whole(image).w_plus, stage(image).w_plus
    torch.testing.assert_close(actual[:, :used], expected[:, :used])
    torch.testing.assert_close(actual[:, used:], expected[:, :1].expand_as(actual[:, used:]))


@pytest.mark.parametrize("array", [False, True])
def test_the_layout_of_ganinverter(tmp_path: Path, small: dict[str, torch.Tensor], array: bool) -> None:
    average = torch.linspace(-1, 1, 32)
    encoder = {f"encoder.{key}": tensor for key, tensor in small.items()}
    decoder = formats.state("rosinality", "g_ema")
    content = {
        "encoder": {**encoder, "latent_avg": average.repeat(10, 1).numpy() if array else average},
        "decoder": decoder,
        "opts": {"encoder_type": "Encoder4Editing"},
    }
    torch.save(content, tmp_path / "inverter.pt")
    loaded = load_encoder(tmp_path / "inverter.pt")
    assert loaded.first_for_all
    assert torch.equal(loaded.w_avg, average)
    torch.save({**content, "encoder": {**encoder, "latent_avg": torch.ones(64)}}, tmp_path / "inverter.pt")
    generator = load_generator(tmp_path / "inverter.pt")
    assert_agrees(generator.synthesis(formats.inputs()["w_plus"]), formats.output("rosinality")["image"])
    assert torch.equal(generator.w_avg, torch.ones(64))
