from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable

import pytest

from padinv.cpu import memory as allocation

FAULTS = """
import resource, torch
from padinv.cpu import keep_freed_memory
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


MAPPED = """
import torch
from pathlib import Path
from padinv.cpu import keep_freed_memory, set_apart
def resident():
    return next(int(l.split()[1]) for l in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in l) / 1024
{call}
start, stays = resident(), []
for _ in range(64):
    comes_and_goes = torch.ones(1 << 20)  # 4 MiB
    stays.append(torch.ones(1 << 14))  # 64 KiB, right behind it
    del comes_and_goes
keep_freed_memory()
first = torch.ones(1 << 25)  # 128 MiB, which do not fit between those that stay
print(resident() - start - 128)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_what_stays_can_be_set_apart() -> None:
    """In a process of its own: what is left in memory of 64 blocks of 4 MiB that have come and gone.

    Otherwise it is most of 256 MiB, unless by chance the blocks lie such that the C library can use them again.
    """
    code = MAPPED.format(call="assert set_apart()")
    assert float(subprocess.check_output([sys.executable, "-c", code], text=True)) < 64


@pytest.mark.parametrize("ask", [allocation.keep_freed_memory, allocation.set_apart])
def test_does_nothing_without_glibc(monkeypatch: pytest.MonkeyPatch, ask: Callable[[], bool]) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocation.ctypes, "CDLL", None)  # would not be callable
    assert not ask()
