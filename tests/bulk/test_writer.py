from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from command_files import pixels, size
from padinv.bulk import OutputFolder
from padinv.bulk.writer import SIDE, write_sheet


def results(folder: Path, grids: list[tuple[str, tuple[int, int]]]) -> OutputFolder:
    output = OutputFolder(folder, ["grids"])
    for number, (name, shape) in enumerate(grids):
        output.write(output.file("grids", name), Image.new("RGB", shape, (255, 0, 0)).save)
        output.add({"photograph": f"/p/{number:04d}", "name": name, "faces": 1, "settings": ""})
    return OutputFolder(folder, ["grids"])


@pytest.mark.parametrize(
    ("count", "shape", "expected"),
    [
        (1, (268, 136), (284, 172)),
        (40, (268, 136), (5 * 276 + 8, 8 * 164 + 8)),
        (300, (268, 136), (7 * 276 + 8, 12 * 164 + 8 + 20)),  # as many as fit, and a line that says so
        (3, (1828, 264), (1828 + 16, 3 * 292 + 8)),
        (2, (5000, 300), (SIDE, 2 * (121 + 28) + 8)),  # made smaller
        (2, (100, 9000), (2 * (22 + 8) + 8, 1992 + 28 + 8)),
    ],
)
def test_grids_in_columns(count: int, shape: tuple[int, int], expected: tuple[int, int], tmp_path: Path) -> None:
    write_sheet(results(tmp_path, [(f"{number}", shape) for number in range(count)]))
    assert size(tmp_path / "grid.png") == pytest.approx(expected, abs=2)
    assert max(size(tmp_path / "grid.png")) <= SIDE


def test_names_are_below(tmp_path: Path) -> None:
    write_sheet(results(tmp_path, [("short", (128, 64)), ("a long name " * 15, (128, 64)), ("日本語", (128, 64))]))
    sheet = pixels(tmp_path / "grid.png")
    assert (sheet[8:72, 8:136] == (255, 0, 0)).all()
    dark = (sheet.sum(axis=2) < 200).any(axis=0)
    assert dark[8:136].any()
    assert dark[144:272].any()
    assert not dark[136:144].any()  # the long one is shortened, and does not run into its neighbour


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    folder = results(tmp_path, [("a", (64, 64)), ("b", (64, 64)), ("c", (64, 64))])
    folder.file("grids", "a").write_bytes(b"half a file")
    folder.file("grids", "b").unlink()
    write_sheet(folder)
    assert (pixels(tmp_path / "grid.png")[8:72, 8:72] == (255, 0, 0)).all()
    folder.file("grids", "c").unlink()
    write_sheet(folder)


def test_no_results_no_sheet(tmp_path: Path) -> None:
    write_sheet(OutputFolder(tmp_path, ["grids"]))
    assert not (tmp_path / "grid.png").exists()
