from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from padinv import allocation

FAULTS = """
import resource, torch
from padinv.allocation import keep_freed_memory
{call}
for _ in range(5):
    torch.zeros(1 << 24)  # 64 MiB, over the 32 that glibc comes to keep by itself
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.zeros(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_freed_memory_is_used_again() -> None:
    """In processes of their own, as there is no way back."""
    with_it, without = (
        int(subprocess.check_output([sys.executable, "-c", FAULTS.format(call=call)], text=True))
        for call in ("assert keep_freed_memory()", "")
    )
    assert with_it < without / 4  # a page fault for every 4 KiB, or for every huge page


def test_does_nothing_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocation.ctypes, "CDLL", None)  # would not be callable
    assert not allocation.keep_freed_memory()
