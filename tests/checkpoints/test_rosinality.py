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
