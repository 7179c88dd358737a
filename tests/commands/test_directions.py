from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from command_files import Command, files, pixels, size
from padinv import load_generator
from padinv.commands.labels import as_numbers, read_labels
from padinv.editing import ganspace, load_directions, sefa
from padinv.exceptions import DataError


@pytest.mark.parametrize(("method", "find"), [("sefa", sefa), ("ganspace", ganspace)])
def test_finding(
    method: str, find: object, padinv: Command, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert padinv("directions", "--find", method, "--count", 3, "--layers", "0-3", "-o", tmp_path / "out") == 0
    found = load_directions(tmp_path / "out" / "directions.safetensors")
    expected = find(load_generator(model / "generator.safetensors"), layers="0-3", count=3)
    assert list(found) == [direction.name for direction in expected]
    assert all((found[direction.name].vector == direction.vector).all() for direction in expected)
    assert size(tmp_path / "out" / "directions.png") == (5 * 132 + 4, 3 * 132 + 4)
    assert f"{method}-2" in capsys.readouterr().out


def test_drawing_on_photographs(padinv: Command, photographs: Path, directions_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    args = ["--directions", directions_file, "--strengths", "-2", "0", "2", "-o", out]
    assert padinv("directions", photographs / "a.png", *args) == 0
    assert size(out / "grids" / "a.png") == (3 * 132 + 4, 4 * 132 + 4)
    assert {"codes/a.safetensors", "directions.safetensors", "metrics.jsonl"} <= set(files(out))


def test_listing_needs_no_output(
    padinv: Command, model: Path, directions_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert padinv("directions", "--directions", directions_file) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["sefa-0", "sefa-1", "sefa-2", "sefa-3"]
    assert "eigenvalue" in lines[0]


def test_linear(padinv: Command, picture_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="an extra")
    labels = tmp_path / "labels.csv"
    brightness = {path: pixels(path).sum() for path in picture_folder.iterdir()}
    median = sorted(brightness.values())[10]
    rows = [f"any/{path.name},{'light' if value >= median else 'dark'}" for path, value in brightness.items()]
    labels.write_text("\n".join(["file,tone", *rows]))
    out = tmp_path / "out"
    options = ["--find", "linear", "--labels", labels, "--column", "tone", "-o", out]
    assert padinv("directions", picture_folder, *options) == 0
    direction = load_directions(out / "directions.safetensors")["tone"]
    assert direction.kind == "linear"
    assert direction.metadata["images"] == 20
    assert "accuracy" in capsys.readouterr().out
    shutil.rmtree(out / "images")
    assert padinv("edit", picture_folder / "00.png", "--directions", out / "directions.safetensors", "--direction",
                  "tone", "-o", tmp_path / "edited") == 0  # fmt: skip


def test_labels(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,year,kind\nx/1.png,1950,a\n2.png,,b\n", encoding="utf-8-sig")
    assert read_labels(table, ["/p/1.png", "/p/2.png", "/p/3.png"], "year") == ["1950", None, None]
    with pytest.raises(DataError, match="no column 'age'; there are: file, year, kind"):
        read_labels(table, [], "age")
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(tmp_path / "none.csv", [], "age")
    with pytest.raises(DataError, match="two words, not a, b, c"):
        as_numbers(["a", "b", "c"], "kind")
