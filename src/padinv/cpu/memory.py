"""Less traffic with memory, on CPUs: freed blocks are kept, and an optimizer's step goes over the weights once.

glibc maps each large block separately and unmaps it when it is freed. The kernel then has to fault in and clear every
page of the next activation: on a CPU, at 1024 px, that takes longer than the arithmetic. Nothing inside torch helps:
its convolutions take no buffer for their result, and huge pages have to be cleared, too.

A step of Adam (Kingma & Ba 2015) is a dozen operations. PyTorch does each with a pass of its own over weights,
gradients and moments, many times what a cache holds, unless it is told to fuse them.
"""

from __future__ import annotations

import ctypes
import platform

import torch
from torch import Tensor, nn

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4  # <malloc.h>
LARGEST = 2**31 - 1  # mallopt takes an int
STEP = 1 << 28
"""How much more than asked for the heap grows at once: 256 MiB."""
SMALLEST_APART = 1 << 16  # 64 KiB: smaller blocks are too many for pages of their own


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

    This is for blocks that stay, such as an optimizer's moments. Between blocks that come and go they would fragment
    the heap. Allocation is slow meanwhile.

    Returns:
        Whether the C library took the request.
    """
    return _ask((M_MMAP_THRESHOLD, SMALLEST_APART))


def _ask(*options: tuple[int, int]) -> bool:
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return all(library.mallopt(option, value) == 1 for option, value in options)


def fuse_on_cpus(optimizer: torch.optim.Optimizer) -> None:
    """Lets a PyTorch optimizer fuse its step where all weights are on a CPU and the user has not chosen another way.

    On GPUs PyTorch combines the operations by itself, and a fused optimizer would also unscale gradients, after they
    have been clipped.

    Args:
        optimizer: an optimizer of any class; groups of Adam, AdamW, SGD and Adagrad are changed in place.

    >>> optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])
    >>> fuse_on_cpus(optimizer)
    >>> optimizer.param_groups[0]["fused"]
    True
    """
    for group in optimizer.param_groups:
        undecided = group.get("fused", False) is None and not group.get("foreach") and not group.get("differentiable")
        if undecided and all(p.device.type == "cpu" and p.is_floating_point() for p in group["params"]):
            group["fused"] = True
        if group.get("fused"):
            for p in group["params"]:
                _order_moments(optimizer, p)


def _order_moments(optimizer: torch.optim.Optimizer, weight: nn.Parameter) -> None:
    """Gives an optimizer's moments the memory layout of their weights.

    A fused step goes through weight and moments in the order of memory and ignores strides. The layouts differ when a
    run is resumed with another ``channels_last``.
    """
    state = optimizer.state.get(weight, {})
    for name, moment in state.items():
        if isinstance(moment, Tensor) and moment.shape == weight.shape:
            state[name] = torch.empty_like(weight, dtype=moment.dtype, requires_grad=False).copy_(moment)
