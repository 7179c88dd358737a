from __future__ import annotations

import json
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
