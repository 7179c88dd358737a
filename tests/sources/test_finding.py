from __future__ import annotations

from pathlib import Path

import pytest

import image_files
from padinv.bulk import find_photographs
from padinv.exceptions import DataError


def found(*arguments: object, codes: bool = False) -> list[str]:
    source = find_photographs([str(argument) for argument in arguments], codes)
    return [Path(source.name(i)).name for i in range(len(source))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    image_files.write_folder(tmp_path / "p", 3)
    image_files.write_folder(tmp_path / "p" / "sub", 1)
    (tmp_path / "p" / "notes.txt").write_text("a text")
    return tmp_path / "p"


def test_files_folders_and_patterns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(folder) == ["0000.png", "0001.png", "0002.png", "0000.png"]
    assert found(folder / "0002.png", folder / "0000.png") == ["0002.png", "0000.png"]
    assert found(folder / "*.png") == ["0000.png", "0001.png", "0002.png"]
    assert found(folder / "**" / "0000.png") == ["0000.png", "0000.png"]
    assert found(folder / "000[12].png") == ["0001.png", "0002.png"]
    monkeypatch.chdir(folder)
    assert found("sub/*.png", "0001.png") == ["0000.png", "0001.png"]


def test_a_file_whose_name_looks_like_a_pattern(folder: Path) -> None:
    (folder / "0001.png").rename(folder / "a[1].png")
    assert found(folder / "a[1].png") == ["a[1].png"]


def test_archives_and_bundled_sets(folder: Path, tmp_path: Path) -> None:
    archive = image_files.write_zip(tmp_path / "a.zip", {"x.png": (folder / "0000.png").read_bytes()})
    assert found(archive, folder / "0001.png") == ["x.png", "0001.png"]
    assert len(found("congress64-val")) == 32


def test_codes(tmp_path: Path) -> None:
    (tmp_path / "b.safetensors").touch()
    (tmp_path / "a.safetensors").touch()
    assert found(tmp_path, codes=True) == ["a.safetensors", "b.safetensors"]
    with pytest.raises(DataError, match="no images under"):
        found(tmp_path)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("empty", "no images under"),
        ("empty/*.png", "No file matches"),
        ("none.png", r"There is no file '.*none.png'\.$"),
    ],
)
def test_nothing_to_do(argument: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        found(tmp_path / argument)


def test_a_missing_file_among_others_is_left_for_reading(folder: Path) -> None:
    assert found(folder / "none.png", folder / "0000.png") == ["none.png", "0000.png"]
    with pytest.raises(DataError, match="nor any other"):
        found(folder / "none.png", folder / "neither.png")
