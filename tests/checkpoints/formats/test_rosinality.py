from __future__ import annotations

import logging
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

import formats
from conformance import assert_agrees
from padinv import load_discriminator, load_encoder, load_generator
from padinv.exceptions import CheckpointError

FORM = "rosinality"
AVERAGE = torch.linspace(-1, 1, 64)


@pytest.fixture(scope="module")
def g_ema() -> dict[str, torch.Tensor]:
    return formats.state(FORM, "g_ema")


def save(content: Any, path: Path, *, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_agrees_with_the_other_implementation(tmp_path: Path, g_ema: dict[str, torch.Tensor], zipped: bool) -> None:
    content = {
        "g": {**g_ema, "input.input": g_ema["input.input"] + 1},
        "g_ema": g_ema,
        "d": formats.state(FORM, "d"),
        "d_optim": {"state": {0: {"step": 3}}},
        "args": Namespace(size=64, path=tmp_path),
        "ada_aug_p": 0.0,
        "latent_avg": AVERAGE,
    }
    path = save(content, tmp_path / "550000.pt", zipped=zipped)
    generator, published, given = load_generator(path), formats.output(FORM), formats.inputs()
    assert_agrees(generator.mapping(given["z"]), published["mapping_w"])
    assert_agrees(generator.synthesis(given["w_plus"]), published["image"])
    assert torch.equal(generator.w_avg, AVERAGE)
    assert_agrees(load_discriminator(path)(given["images"]), published["score"])


def test_other_ways_to_hold_the_weights(tmp_path: Path, g_ema: dict[str, torch.Tensor]) -> None:
    for content in ({"g": g_ema, "latent_avg": AVERAGE}, {**g_ema, "latent_avg": AVERAGE}):
        generator = load_generator(save(content, tmp_path / "weights.pt"))
        assert_agrees(generator.synthesis(formats.inputs()["w_plus"]), formats.output(FORM)["image"])
        assert torch.equal(generator.w_avg, AVERAGE)


def test_a_missing_mean_latent_is_estimated_and_said_so(
    tmp_path: Path, g_ema: dict[str, torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    path = save({"g_ema": g_ema}, tmp_path / "weights.pt")
    with caplog.at_level(logging.WARNING, logger="padinv"):
        generator, again = load_generator(path), load_generator(path)
    assert torch.equal(generator.w_avg, again.w_avg)
    z = torch.randn(10_000, 64, generator=torch.Generator().manual_seed(1))
    assert (generator.w_avg - generator.mapping(z).mean(dim=0)).abs().max() < 0.1
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} holds no mean latent w_avg: it is now the mean of 10,000 mapped samples (seed 0)."
    ] * 2


@pytest.mark.parametrize("kernel", ["convs.0.conv.blur.kernel", "to_rgbs.0.upsample.kernel"])
def test_another_filter_is_refused(tmp_path: Path, g_ema: dict[str, torch.Tensor], kernel: str) -> None:
    path = save({"g_ema": {**g_ema, kernel: g_ema[kernel] / 4}}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"not StyleGAN2's filter \[1, 3, 3, 1\]"):
        load_generator(path)


def test_what_is_not_there_is_named(tmp_path: Path, g_ema: dict[str, torch.Tensor]) -> None:
    path = save({"g_ema": g_ema}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"holds no Discriminator, but a Generator \(rosinality"):
        load_discriminator(path)
    with pytest.raises(CheckpointError, match="holds no PadInvEncoder"):
        load_encoder(path)
    del g_ema["noises.noise_4"]
    with pytest.raises(CheckpointError, match=r"it has no 'synthesis\.blocks\.16\.conv\.noise'"):
        load_generator(save({"g_ema": g_ema}, path))


def test_without_noise_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As the published file for FFHQ: they are drawn, the same each time, and the strengths stay."""
    g_ema = formats.state(FORM, "g_ema")
    left = {key: tensor for key, tensor in g_ema.items() if not key.startswith("noises.")}
    path = save({"g_ema": left, "latent_avg": AVERAGE}, tmp_path / "weights.pt")
    torch.manual_seed(3)
    with caplog.at_level(logging.WARNING, logger="padinv"):
        generator = load_generator(path)
    assert caplog.messages == [f"{path} holds no noise images: they are now drawn at random (seed 0)."]
    torch.manual_seed(4)
    again, whole = load_generator(path), load_generator(save({"g_ema": g_ema}, tmp_path / "whole.pt"))
    noises = {key: tensor for key, tensor in generator.state_dict().items() if key.endswith(".noise")}
    assert len(noises) == 9
    for key, tensor in generator.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key])
        if key in noises:
            assert 0.5 < tensor.std() < 1.5
        elif key != "w_avg":
            assert torch.equal(tensor, whole.state_dict()[key])
    w_plus = formats.inputs()["w_plus"]
    assert_agrees(generator.synthesis(w_plus, noise="none"), whole.synthesis(w_plus, noise="none"))


@pytest.mark.parametrize("form", ["array", "list", "layers", "batch of layers", "float64"])
def test_kinds_of_mean_latents(tmp_path: Path, g_ema: dict[str, torch.Tensor], form: str) -> None:
    average: Any = {
        "array": AVERAGE.numpy(),
        "list": AVERAGE.tolist(),
        "layers": AVERAGE.repeat(10, 1).numpy(),
        "batch of layers": AVERAGE.repeat(1, 10, 1),
        "float64": AVERAGE.double().numpy(),
    }[form]
    g_ema = formats.state(FORM, "g_ema")
    assert torch.equal(load_generator(save({"g_ema": g_ema, "latent_avg": average}, tmp_path / "w.pt")).w_avg, AVERAGE)


@pytest.mark.parametrize(
    ("average", "message"),
    [
        (["a"], "latent_avg is a list of something else than numbers"),
        ("x.pt", "latent_avg is no tensor, array or list, but a str"),
        (torch.randn(10, 64), "no single mean latent"),
    ],
)
def test_what_is_no_mean_latent_is_named(tmp_path: Path, average: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_generator(save({"g_ema": formats.state(FORM, "g_ema"), "latent_avg": average}, tmp_path / "w.pt"))


def test_half_precision(tmp_path: Path) -> None:
    half = {key: t.half() if t.ndim > 2 or "noise" in key else t for key, t in formats.state(FORM, "g_ema").items()}
    generator = load_generator(save({"g_ema": half, "latent_avg": AVERAGE.half()}, tmp_path / "w.pt"))
    assert {tensor.dtype for tensor in generator.state_dict().values()} == {torch.float32}
    assert_agrees(generator.synthesis(formats.inputs()["w_plus"]), formats.output(FORM)["image"], 5e-3)
