"""Keeps the memory that a network frees, instead of giving it back and asking for it again.

glibc maps each large block by itself and unmaps it when it is freed. The kernel then has to fault in and clear every
page of the next activation: on a CPU, at 1024 px, that takes longer than the arithmetic.
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4  # <malloc.h>
LARGEST = 2**31 - 1  # mallopt takes an int
STEP = 1 << 28
"""How much more than asked for the heap grows at once: 256 MiB."""
SMALLEST_APART = 1 << 16


def keep_freed_memory() -> bool:
    """Asks the C library to keep freed memory for the next allocation, in this process and for good.

    The process then keeps the largest size that it has had. On a device other than the CPU it neither helps nor harms;
    with another C library than glibc (macOS, Windows, Alpine) nothing happens.

    Returns:
        Whether the C library took the request.
    """
    return _ask((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, LARGEST), (M_TOP_PAD, STEP))


def set_apart() -> bool:
    """Asks the C library for pages of its own for every block of 64 KiB or more, until :func:`keep_freed_memory`.

    For blocks that stay, such as an optimizer's moments: among blocks that come and go they would split the room of
    larger ones. Allocating is slow meanwhile.

    Returns:
        Whether the C library took the request.
    """
    return _ask((M_MMAP_THRESHOLD, SMALLEST_APART))


def _ask(*options: tuple[int, int]) -> bool:
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return all(library.mallopt(option, value) == 1 for option, value in options)
