"""Published weights and photographs, which are not the project's to hand on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def published(name: str) -> Path:
    """Finds a file or folder in the folders that PADINV_TEST_WEIGHTS names, as PATH does; skips the test without it."""
    folders = [Path(folder) for folder in os.environ.get("PADINV_TEST_WEIGHTS", "").split(os.pathsep) if folder]
    found = [folder / name for folder in folders if (folder / name).exists()]
    if not found:
        pytest.skip(f"PADINV_TEST_WEIGHTS names no folder with {name}")
    return found[0]
