from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from padinv.bulk import OutputFolder
from padinv.exceptions import ConfigError

RECORD = {"photograph": "/p/a.png", "name": "a", "faces": 1, "settings": "s", "mse": 0.5}


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "new" / "out", ["images"])
    target = folder.file("images", "a")

    def broken(path: Path) -> None:
        path.write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        folder.write(target, broken)
    assert not target.exists()
    assert folder.write(target, lambda path: path.write_text("whole")) == target
    assert target.read_text() == "whole"
    folder.merge()
    assert sorted(path.name for path in folder.path.iterdir()) == ["images", "metrics.jsonl"]


def test_done_is_what_has_a_record_and_its_files(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path, ["images", "codes"])
    assert not folder.is_done("/p/a.png", "s")
    folder.add(RECORD)
    for kind in folder.kinds:
        assert not OutputFolder(tmp_path, ["images", "codes"]).is_done("/p/a.png", "s")
        folder.write(folder.file(kind, "a"), Path.touch)
    folder = OutputFolder(tmp_path, ["images", "codes"])
    assert folder.is_done("/p/a.png", "s")
    assert not folder.is_done("/p/b.png", "s")
    with pytest.raises(ConfigError, match=r"results for /p/a\.png of another command, model or options"):
        folder.is_done("/p/a.png", "other")


def test_shards_become_one_file(tmp_path: Path) -> None:
    first, second = OutputFolder(tmp_path, []), OutputFolder(tmp_path, [])
    first.add({**RECORD, "psnr": float("inf")}, rank=0)
    second.add({"photograph": "/p/0.png", "error": "why"}, rank=1)
    with (tmp_path / "metrics-001.jsonl").open("a") as shard:
        shard.write('\n{"photograph": "/p/half')  # as a run leaves it that is stopped while it writes
    third = OutputFolder(tmp_path, [])
    third.add({**RECORD, "photograph": "/p/b.png"}, rank=1)
    assert third.names == {"/p/a.png": "a"}
    third.merge()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["photograph"] for line in lines] == ["/p/0.png", "/p/a.png", "/p/b.png"]
    assert json.loads(lines[1])["psnr"] is None  # JSON has no infinity
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert OutputFolder(tmp_path, []).records == third.records


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(ConfigError, match="Nothing can be written to"):
            OutputFolder(path, [])


@pytest.mark.parametrize(
    "line",
    [
        b'{"photograph": "/p/half',
        b"\xff\xfe",
        b"[" * 5000,
        b"null",
        b'{"photograph": 5}',
        *(
            json.dumps({**RECORD, **changed}).encode()
            for changed in (
                {"name": "../../outside"},
                {"name": "/outside"},
                {"name": ".."},
                {"name": 5},
                {"faces": 10**9},
                {"faces": "2"},
                {"settings": None},
            )
        ),
    ],
)
def test_lines_that_are_no_records_count_for_nothing(line: bytes, tmp_path: Path) -> None:
    good = json.dumps({**RECORD, "photograph": "/p/good.png"}).encode()
    (tmp_path / "metrics.jsonl").write_bytes(line + b"\n" + good + b"\n")
    folder = OutputFolder(tmp_path, ["images"])
    assert list(folder.records) == ["/p/good.png"]
    folder.merge()
    assert [json.loads(line)["photograph"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [
        "/p/good.png"
    ]


def test_two_records_of_one_name(tmp_path: Path) -> None:
    """As two commands of earlier versions left them: one keeps it, the other is made again."""
    folder = OutputFolder(tmp_path, ["images"])
    for photograph, name in (("/p/a.png", "a"), ("/p/b.png", "A")):
        folder.add({**RECORD, "photograph": photograph, "name": name})
    folder.write(folder.file("images", "a"), Path.touch)
    folder.write(folder.file("images", "A"), Path.touch)
    folder = OutputFolder(tmp_path, ["images"])
    assert folder.names == {"/p/a.png": "a"}
    assert folder.is_done("/p/a.png", "s", "a")
    assert not folder.is_done("/p/b.png", "s", "b")


@pytest.mark.parametrize("name", ["metrics-000.jsonl", "metrics.jsonl.part", "metrics.jsonl"])
def test_planted_links_are_not_followed(name: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    out = tmp_path / "out"
    out.mkdir()
    (out / name).symlink_to(precious)
    folder = OutputFolder(out, ["images"])
    if name == "metrics-000.jsonl":
        with pytest.raises(ConfigError, match=r"metrics-000\.jsonl cannot be written"):
            folder.add(RECORD)
    else:
        folder.add(RECORD)
        folder.merge()
        assert not (out / "metrics.jsonl").is_symlink()
    assert precious.read_text() == "precious"


def test_a_folder_that_was_removed_is_not_made_again(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "out", ["images"])
    folder.write(folder.file("images", "a"), Path.touch)
    shutil.rmtree(folder.path)
    with pytest.raises(ConfigError, match="out was removed while results were written there"):
        folder.write(folder.file("images", "b"), Path.touch)
    with pytest.raises(ConfigError, match="out was removed while results were written there"):
        folder.add(RECORD)
    assert not folder.path.exists()


def test_many_files_leave_nothing_behind(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path, ["images"])

    def broken(path: Path) -> None:
        path.write_text("half")
        raise ZeroDivisionError

    with folder.many_files():
        with pytest.raises(ZeroDivisionError):
            folder.write(folder.file("images", "a"), broken)
        for name in ("a", "b", "us/1"):
            folder.write(folder.file("images", name), lambda path: path.write_text("whole"))
    folder.write(folder.file("images", "c"), lambda path: path.write_text("whole"))
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert written == ["images/a.png", "images/b.png", "images/c.png", "images/us/1.png"]
    assert not list(tmp_path.rglob(".*"))
