from __future__ import annotations

import json
from pathlib import Path

import pytest

import image_files
from padinv.bulk import OutputFolder
from padinv.bulk.photographs import photographs_of, search
from padinv.exceptions import ConfigError


def make_results(folder: Path, *names: str, photographs: str = "/elsewhere") -> Path:
    """What an aligned run leaves in a folder."""
    lines = []
    for name in names:
        for kind in ("images", "grids", "photographs"):
            image_files.write_folder(folder / kind, 1)
            (folder / kind / "0000.png").rename(folder / kind / f"{name}.png")
        (folder / "codes").mkdir(exist_ok=True)
        (folder / "codes" / f"{name}.safetensors").touch()
        record = {"photograph": f"{photographs}/{name}.png", "name": name, "faces": 1, "settings": "s"}
        lines.append(json.dumps(record))
    (folder / "grid.png").touch()
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    return folder


def found(*arguments: Path, output: Path) -> list[str]:
    _, paths = search(list(map(str, arguments)), output)
    return [path for path in paths if path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photographs of the user's, and below them the results of a run."""
    image_files.write_folder(tmp_path / "p", 2)
    make_results(tmp_path / "p" / "run", "a", "b")
    return tmp_path / "p"


def test_results_of_another_run_are_no_photographs(folder: Path, tmp_path: Path) -> None:
    own = [str(folder / name) for name in ("0000.png", "0001.png")]
    for argument in (folder, folder / "**" / "*.png", folder / ".." / "p"):
        assert found(argument, output=tmp_path / "out") == own


def test_but_they_are_where_they_are_named(folder: Path, tmp_path: Path) -> None:
    images = [str(folder / "run" / "images" / name) for name in ("a.png", "b.png")]
    for argument in (folder / "run" / "images", folder / "run" / "images" / "*.png"):
        assert found(argument, output=tmp_path / "out") == images
    assert set(found(folder, folder / "run" / "images" / "b.png", output=tmp_path / "out")[2:]) == {images[1]}


def test_a_folder_of_results_stands_for_its_codes(folder: Path, tmp_path: Path) -> None:
    codes = [str(folder / "run" / "codes" / f"{name}.safetensors") for name in "ab"]
    assert found(folder / "run", output=tmp_path / "out") == codes
    with pytest.raises(ConfigError, match=r"codes/a\.safetensors is where results go"):
        found(folder / "run", output=folder / "run")


@pytest.mark.parametrize("name", ["images", "grids", "codes", "photographs"])
def test_a_folder_that_only_looks_like_results(name: str, tmp_path: Path) -> None:
    image_files.write_folder(tmp_path / "p" / name, 1)
    (tmp_path / "p" / "metrics.jsonl").write_text('{"epoch": 1}')
    assert found(tmp_path / "p", output=tmp_path / "out") == [str(tmp_path / "p" / name / "0000.png")]


def test_photographs_that_were_inverted_beside_their_results(tmp_path: Path) -> None:
    """``padinv invert data/photographs -o data``: what is in there are no results."""
    make_results(tmp_path, "a", photographs=str(tmp_path / "photographs"))
    image_files.write_folder(tmp_path / "photographs", 1)
    expected = [str(tmp_path / "photographs" / name) for name in ("0000.png", "a.png")]
    for output in (tmp_path, tmp_path / "out"):
        assert found(tmp_path, output=output) == expected
    _, paths = search([str(tmp_path)], tmp_path)
    with pytest.raises(ConfigError, match=r"photographs/0000\.png is where results go"):  # it would be written over
        photographs_of(paths, OutputFolder(tmp_path, ["photographs"]))


def test_output_through_a_link(tmp_path: Path) -> None:
    image_files.write_folder(tmp_path / "p", 1)
    make_results(tmp_path / "p", "a")
    (tmp_path / "link").symlink_to(tmp_path / "p")
    assert found(tmp_path / "p", output=tmp_path / "link") == [str(tmp_path / "p" / "0000.png")]
