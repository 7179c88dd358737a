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
    assert (direction.metadata["negative"], direction.metadata["positive"]) == ("dark", "light")
    assert direction.metadata["lowest"] < 0 < direction.metadata["highest"]
    printed = capsys.readouterr().out
    assert "accuracy" in printed
    assert "negative dark, positive light" in printed
    assert padinv("directions", picture_folder, *options, "--plane", "features") == 0
    assert load_directions(out / "directions.safetensors")["tone"].normal
    shutil.rmtree(out / "images")
    assert padinv("edit", picture_folder / "00.png", "--directions", out / "directions.safetensors", "--direction",
                  "tone", "-o", tmp_path / "edited") == 0  # fmt: skip


def test_labels(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,year,kind\nx/1.png,1950,a\n2.png,,b\n", encoding="utf-8-sig")
    assert read_labels(table, ["/p/1.png", "/p/2.png", "/p/3.png"], "year") == ["1950", None, None]
    assert read_labels(table, ["/p/1.safetensors"], "year") == ["1950"]
    (tmp_path / "nan.csv").write_text("file,year\n1.png,NaN\n2.png,1950\n")
    assert read_labels(tmp_path / "nan.csv", ["1.png", "2.png"], "year") == [None, "1950"]
    assert read_labels(table, ["/p/code.safetensors"], "year", recorded=["/q/1.png"]) == ["1950"]
    with pytest.raises(DataError, match="no column 'age'; there are: file, year, kind"):
        read_labels(table, [], "age")
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(tmp_path / "none.csv", [], "age")
    with pytest.raises(DataError, match="two words, not a, b, c"):
        as_numbers(["a", "b", "c"], "kind")
    assert as_numbers(["nan", "1"], "kind") == [None, 1.0]
    with pytest.raises(DataError, match="commas in numbers, such as 10,5: write points"):
        as_numbers(["9,5", "10,5"], "age")  # as words, 10,5 would come before 9,5
    with pytest.raises(DataError, match="finite"):
        as_numbers(["inf", "1"], "kind")


@pytest.mark.parametrize(
    "text",
    [
        "file,smile\n1.jpg,-1\n2.jpg,1\n",
        "3\nfile,smile\n1.jpg,-1\n2.jpg,1\n",
        "2\nyoung smile\n1.jpg  1 -1\n2.jpg -1  1\n",
        "image_id\tyoung\tsmile\n1.jpg\t\t-1\n2.jpg\t\t1\n",
        'sep=;\r\n"file";"smile"\r\n"a, b/1.jpg";"-1"\r\n\r\n"2.jpg"; 1\r\n',
        "smile,file\n-1,d\\1.jpg\n1,./2.jpg\n",
        "file,smile\n1.jpg,-1\n1.jpg,-1\n2.jpg,1\n",
    ],
    ids=["plain", "count", "CelebA", "tabs", "Excel", "order", "twice the same"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_as_the_field_has_them(text: str, encoding: str, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_bytes(text.encode(encoding))
    assert read_labels(table, ["/d/1.jpg", "/d/2.jpg", "/d/3.jpg"], "smile") == ["-1", "1", None]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("1.jpg,1\n2.jpg,0\n", "has no header: put a line such as file,smile before 1.jpg, 1"),
        ("file,smile\n1.jpg,1,2\n2.jpg,1\n", "has 3 entries in line 2, and 2 columns"),
        ("file,smile\n1.jpg,1\na/1.jpg,0\n1.jpg,0\n", "two entries for 1.jpg: '1', and in line 4 '0'"),
        ("file,smile,smile\n1.jpg,1,2\n", "2 columns 'smile'"),
        ('file,smile\n"1.jpg,1\n', "is there a quote that is not closed"),
        ("id,smile\n17,1\n", "none of the 1 photographs, such as /d/1.jpg: its column 'id' names 17"),
        (
            "file,smile\none/1.jpg,1\ntwo/1.jpg,0\n",
            "several entries that could be meant by /d/1.jpg, one/1.jpg, two/1.jpg",
        ),
        ("file,smile\n\xff.jpg,1\n", "it is no text in UTF-8"),
    ],
)
def test_tables_that_say_something_else(text: str, reason: str, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as error:
        read_labels(table, ["/d/1.jpg"], "smile")
    assert str(error.value).startswith(str(table))
    assert reason in str(error.value)


def test_each_photograph_gets_its_own_label(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,smile\none/0001.jpg,1\ntwo/0001.jpg,0\n")
    photographs = ["/d/one/0001.jpg", "/d/two/0001.jpg"]
    assert read_labels(table, photographs, "smile") == ["1", "0"]
    assert read_labels(table, photographs[::-1], "smile") == ["0", "1"]
    table.write_text("file,smile\none/0001.jpg,1\n")
    assert read_labels(table, photographs, "smile") == ["1", None]  # the other's is not taken
    table.write_text("file,smile\n0001.jpg,1\n")
    with pytest.raises(DataError, match=r"one entry, 0001\.jpg, for /d/one/0001\.jpg, /d/two/0001\.jpg"):
        read_labels(table, photographs, "smile")


def test_labels_are_checked_before_the_work(
    padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn", reason="an extra")
    table, out = tmp_path / "labels.csv", tmp_path / "out"
    args = [photographs, "--find", "linear", "--labels", table, "--column", "smile", "-o", out]
    for text, reason in (
        ("file,smile\nx/a.png,1\ny/a.png,0\n", f"several entries that could be meant by {photographs / 'a.png'}"),
        ("file,smile\nz.png,1\n", "none of the 3 photographs"),
        ("a.png,1\n", "has no header"),
        ("file,smile\na.png,yes\nb.jpg,no\nc.png,maybe\n", "numbers or two words, not maybe, no, yes"),
        ("file,smile\na.png,1\nb.jpg,1\nc.png,1\n", "all labels are 1"),
        ("file,smile\na.png,0\nb.jpg,1\nc.png,1\n", "Only 2 images have the larger label"),
        ("file,smile\na.png,\nb.jpg,\nc.png,nan\n", "no entry in the column 'smile' for any"),
        ("file,smile\na.png,inf\nb.jpg,1\nc.png,0\n", "finite numbers"),
    ):
        table.write_text(text)
        assert padinv("directions", *args) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("padinv: ")
        assert reason in line
        assert not (out / "codes").exists()
    table.write_text("file,smile\na.png,0\nb.jpg,1\n")
    assert padinv("directions", *args) == 1
    assert f"1 of 3 photographs lack 'smile' in {table}, such as {photographs / 'c.png'}" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--labels", "labels.csv"], ["--column", "smile"], ["--plane", "features"]])
def test_labels_are_not_passed_over(
    padinv: Command, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    assert padinv("directions", photographs, *option, "-o", tmp_path / "out") == 1
    assert f"{option[0]} is for finding a direction from labels: add --find linear" in capsys.readouterr().err
