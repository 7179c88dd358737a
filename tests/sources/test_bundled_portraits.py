"""The pictures in the package are what NOTICE and the table beside them say."""

import csv
import io
import zipfile
from collections import Counter

import pytest
from PIL import Image

from padinv.sources.opening import BUNDLED, bundled_path


def table(name: str) -> list[dict[str, str]]:
    with zipfile.ZipFile(bundled_path(name)) as archive:
        return list(csv.DictReader(io.TextIOWrapper(archive.open("provenance.csv"), newline="")))


@pytest.mark.parametrize("name", BUNDLED)
def test_each_picture_has_its_provenance(name: str) -> None:
    rows = table(name)
    with zipfile.ZipFile(bundled_path(name)) as archive:
        assert {row["file"] for row in rows} == set(archive.namelist()) - {"provenance.csv"}
        for row in rows:
            assert Image.open(archive.open(row["file"])).size == (64, 64)
    assert all(
        row["source"] and row["licence"] == {"color": "MIT", "gray": "public domain"}[row["kind"]] for row in rows
    )


@pytest.mark.parametrize(("name", "colour", "grey"), [("congress64-train", 96, 32), ("congress64-val", 24, 8)])
def test_kinds(name: str, colour: int, grey: int) -> None:
    assert Counter(row["kind"] for row in table(name)) == {"color": colour, "gray": grey}


def test_nobody_is_there_twice() -> None:
    persons = [row["person"] for name in BUNDLED for row in table(name)]
    assert len(set(persons)) == len(persons) == 160
