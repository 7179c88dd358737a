"""An optimizer's step in one pass over the weights, on CPUs.

A step of Adam (Kingma & Ba 2015) is a dozen operations. PyTorch does each with a pass of its own over weights,
gradients and moments, many times what a cache holds, unless it is told to fuse them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def fuse_on_cpus(optimizer: torch.optim.Optimizer) -> None:
    """Has an optimizer of PyTorch's fuse its step where all weights are on a CPU and nothing else was asked for.

    On GPUs PyTorch combines the operations by itself, and a fused optimizer would also unscale gradients, after they
    have been clipped.

    Args:
        optimizer: of any class; changed in place, in the groups that can be: those of Adam, AdamW, SGD and Adagrad.

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
