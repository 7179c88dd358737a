"""How much memory a piece of code takes at its peak, by what Linux tells of this process."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

PROCESS = Path("/proc/self")


class Peak:
    """Bytes above what there was before; None until the block ends."""

    taken: int


@contextlib.contextmanager
def peak_memory(*, collect: bool = True) -> Iterator[Peak]:
    """Measures the block, also when it raises; skips the test where that cannot be measured."""
    if collect:
        gc.collect()
    try:
        (PROCESS / "clear_refs").write_text("5")  # resets the peak
    except OSError:
        pytest.skip("the peak of a process's memory can only be reset on Linux")
    before = _field("VmRSS")
    peak = Peak()
    try:
        yield peak
    finally:
        peak.taken = _field("VmHWM") - before


def _field(name: str) -> int:
    lines = (PROCESS / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024
