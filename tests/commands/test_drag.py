"""padinv drag does what padinv.editing.drag does, and records how far it came."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from command_files import Command, records, size
from padinv import Inverter
from padinv.editing import drag

A, B = "a.png", "b.jpg"
POINT = ("--point", "12,15:16,15")


def test_drag(padinv: Command, photographs: Path, tmp_path: Path, inverter: Inverter) -> None:
    mask = Image.new("L", (32, 32), 0)
    mask.paste(255, (4, 4, 28, 28))
    mask.save(tmp_path / "mask.png")
    args = [photographs / A, photographs / B, *POINT, "--mask", tmp_path / "mask.png", "--steps", "4"]
    assert padinv("drag", *args, "-o", tmp_path / "out") == 0
    white = torch.zeros(32, 32)
    white[4:28, 4:28] = 1
    for name in (A, B):
        code = inverter.invert(photographs / name).code
        expected = drag(code, inverter.generator, [(12, 15)], [(16, 15)], mask=white, steps=4)
        written = inverter.load(tmp_path / "out" / "codes" / f"{name[0]}.safetensors").code
        torch.testing.assert_close(written.w_plus, expected.w_plus, atol=1e-3, rtol=1e-3)
    for record in records(tmp_path / "out"):
        assert record["steps"] <= 4
        assert record["distance"] < 6
        assert record["mse"] > 0
    assert size(tmp_path / "out" / "grids" / "a.png") == (3 * 132 + 4, 136)


def test_what_is_done_already_is_skipped_unless_the_mask_changes(
    padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = tmp_path / "mask.png"
    Image.new("L", (32, 32), 255).save(mask)
    args = ["drag", photographs / A, *POINT, "--mask", mask, "--steps", "1", "-o", tmp_path / "out"]
    assert padinv(*args) == 0
    assert padinv(*args) == 0
    assert "1 of 1 were done already" in capsys.readouterr().out
    Image.new("L", (32, 32), 0).save(mask)
    assert padinv(*args) == 1
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "give --point X,Y:X,Y"),
        (["--point", "1,2"], "such as 32,46:32,40, not '1,2'"),
        (["--point", "1,2:3,99"], "inside the image, 0 to 31 px"),
        ([*POINT, "--mask", "nowhere.png"], "--mask nowhere.png cannot be read"),
        ([*POINT, "--features", "5"], "resolution must be one of 4, 8, 16, 32"),
        ([*POINT, "--layers", "7-9"], "layers must be among 0-7"),
    ],
)
def test_mistakes(
    padinv: Command,
    photographs: Path,
    tmp_path: Path,
    options: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert padinv("drag", photographs / A, *options, "-o", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert said.startswith("padinv: ")


def test_a_mask_that_is_no_picture(
    padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mask.png").write_text("not a picture")
    assert padinv("drag", photographs / A, *POINT, "--mask", tmp_path / "mask.png", "-o", tmp_path / "out") == 1
    assert "mask.png cannot be read" in capsys.readouterr().err


def test_a_saved_code_is_dragged_too(padinv: Command, photographs: Path, tmp_path: Path) -> None:
    assert padinv("invert", photographs / A, "-o", tmp_path / "codes") == 0
    code = tmp_path / "codes" / "codes" / "a.safetensors"
    assert padinv("drag", code, *POINT, "--steps", "1", "--no-padding", "-o", tmp_path / "out") == 0
    assert records(tmp_path / "out")[0]["steps"] == 1
    assert size(tmp_path / "out" / "grids" / "a.png") == (2 * 132 + 4, 136)  # reconstruction and result
