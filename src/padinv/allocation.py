"""Keeps the memory that a network frees, instead of giving it back and asking for it again.

glibc maps every large block of its own and unmaps it when it is freed. The next activation is then new memory, whose
every page is first faulted in and cleared by the kernel: on a CPU, at 1024 px, that takes longer than the arithmetic.
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # <malloc.h>
LARGEST = 2**31 - 1  # mallopt takes an int
STEP = 1 << 28
"""How much more than asked for the heap grows at once: 256 MiB."""


def keep_freed_memory() -> bool:
    """Asks the C library to keep freed memory for the next allocation, in this process and for good.

    The process then stays as large as it has been at its largest. On a device other than the CPU it neither helps nor
    harms; with another C library than glibc (macOS, Windows, Alpine) nothing happens.

    Returns:
        Whether the C library took the request.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    options = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, LARGEST), (M_TOP_PAD, STEP))
    return all(library.mallopt(option, value) == 1 for option, value in options)
