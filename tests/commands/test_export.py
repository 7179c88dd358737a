from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from padinv import load_generator
from padinv.checkpoints import fingerprint, save_network
from padinv.cli import main
from padinv.export import Description, read_description
from small_model import small_model


def test_a_generator_for_torch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_network(small_model()[1], tmp_path / "generator.safetensors")
    out = tmp_path / "out.pt2"
    parts = ["--rings", "8", "--features", "8"]
    # The folder has no encoder, and needs none.
    assert main(["export", str(tmp_path), str(out), "--part", "generator", "--format", "torch", *parts]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: generator, 0.")
    code = {"w_plus": torch.randn(2, 4, 8), "const": torch.randn(2, 8, 4, 4), "ring_8": torch.randn(2, 6, 36)}
    code["features_8"] = torch.randn(2, 6, 8, 8)
    assert torch.export.load(out).module()(code)["images"].shape == (2, 3, 8, 8)
    generator = load_generator(tmp_path / "generator.safetensors")
    assert read_description(out) == Description("generator", fingerprint(generator), writes=8)


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("onnxscript"), reason="needs onnxscript")
@pytest.mark.parametrize("part", ["encoder", "both"])
def test_a_model_for_onnx(part: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.onnx"
    assert main(["export", str(model), str(out), "--part", part, "--int8"]) == 0
    first, second = capsys.readouterr().out.strip().splitlines()
    assert first.startswith(f"{out}: {part}, ")
    description = read_description(out)
    assert second == f"int8 against float32: mse {description.int8['mse']:.2e}, psnr {description.int8['psnr']:.1f} dB"
    assert (description.part, description.reads) == (part, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["out.pt2", "--format", "torch", "--int8"], "--int8 is for --format onnx"),
        (["out.pt2", "--format", "torch", "--plain-convolutions"], "--plain-convolutions is for --format onnx"),
        (["out.onnx", "--rings", "4"], "--rings is for --part generator"),
        (["out.onnx", "--part", "generator", "--rings", "x"], "--rings must be resolutions"),
        (["out.onnx", "--part", "generator", "--rings", "128"], "rings names [128] px"),
        (["out.onnx", "--features", "4"], "--features is for --part generator"),
        (["out.onnx", "--part", "generator", "--features", "128"], "features names [128] px"),
        (["out.onnx", "--format", "torch", "--part", "generator"], "out.onnx must end in .pt2"),
    ],
)
def test_bad_options_are_one_sentence(
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "congress64", *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith("padinv: ")
    assert message in error
    assert not list(tmp_path.iterdir())
