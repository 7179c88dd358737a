"""The tables of the documentation are what the code computes, to the digits shown."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools" / "write_tables.py"))


def test_the_small_table_comes_out_the_same(script: dict[str, Any], tmp_path: Path) -> None:
    kept = (ROOT / "docs" / "tables" / "bundled.md").read_text("utf-8")
    stale = [name for name, digest in script["hashes"]().items() if f"`{name}` {digest}" not in kept]
    assert not stale, f"{stale} changed since docs/tables was written: run nox -s tables"
    written = script["main"](["bundled"], tmp_path)["bundled"]
    number = re.compile(r"-?\d+\.\d+")
    ours, theirs = (text.partition("<small>")[0] for text in (written, kept))
    assert number.sub("", ours) == number.sub("", theirs)
    for a, b in zip(number.findall(ours), number.findall(theirs), strict=True):
        unit = 10.0 ** -len(a.partition(".")[2])  # of the last digit: machines round the last of float32 differently
        assert float(a) == pytest.approx(float(b), abs=1.01 * unit)


def test_every_table_is_there_and_in_the_documentation(script: dict[str, Any]) -> None:
    pages = "".join(path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md"))
    for name in script["TABLES"]:
        assert (ROOT / "docs" / "tables" / f"{name}.md").is_file()
        assert f"docs/tables/{name}.md" in pages
