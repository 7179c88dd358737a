"""examples/first_steps.ipynb runs from top to bottom."""

from __future__ import annotations

import ast
import json
import time
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "examples" / "first_steps.ipynb"


def cells(kind: str) -> list[str]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_it_is_kept_without_results() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    assert all(cell.get("outputs", []) == [] and cell.get("execution_count") is None for cell in notebook["cells"])
    assert cells("markdown")[0].startswith("# ")


@pytest.mark.slow
def test_it_runs_in_three_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    shown = []
    start = time.process_time()
    for number, cell in enumerate(cells("code")):
        tree = ast.parse(cell)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {number}", "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names))
    assert time.process_time() - start < 180
    assert names["error"]["refined"] < 0.5 * names["error"]["encoded"]
    pictures = [each._repr_png_() for each in shown if hasattr(each, "_repr_png_")]
    assert len(pictures) >= 8
    assert all(picture.startswith(b"\x89PNG") for picture in pictures if picture is not None)
    assert Path("portraits.safetensors").exists()
