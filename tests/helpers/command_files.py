"""What tests of commands look at: the records and the files of an output folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Command = Callable[..., int]
"""``padinv("invert", photograph, "-o", folder)`` with a small model: the fixture ``padinv``."""


def records(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def files(output: Path) -> list[str]:
    return sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file())


def pixels(path: Path) -> np.ndarray:
    """(H, W, 3), signed."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def size(path: Path) -> tuple[int, int]:
    """Width and height."""
    with Image.open(path) as image:
        return image.size
