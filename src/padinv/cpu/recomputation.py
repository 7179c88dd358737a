"""Activation checkpointing (Chen et al. 2016): a layer keeps its input, and computes the rest again for its gradient.

It saves memory and costs time: one more forward pass of each layer that recomputes. These layers are the generator's
convolutions and the encoder's bottlenecks, or only those with large maps, which hold most of the memory and take little
of the time. Whole blocks of the generator would keep less, but need more at once: the last block alone holds a quarter
of all activations.

A network can also recompute cheap operations alone. Without recomputation a bottleneck keeps seven maps: its input, and
the results of each BatchNorm, convolution and activation. Two of them are results of convolutions, which take nearly
all of the time; these two are then kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

import padinv.cpu.winograd  # noqa: F401  (registers the operator)

CONVOLUTIONS = [torch.ops.aten.convolution.default, torch.ops.padinv.winograd.default]


class Recomputable(nn.Module):
    """A layer whose activations, between input and output, take much memory.

    Attributes:
        cheap: whether recomputing saves memory even if the results of convolutions are kept.
    """

    cheap: ClassVar[bool] = False


def recompute_activations(network: nn.Module, minimum_size: int = 1, *, only_cheap: bool = False) -> None:
    """Makes all layers of a network that are :class:`Recomputable` compute their activations again in a backward pass.

    Args:
        network: the encoder, or the synthesis network.
        minimum_size: height of a layer's input in pixels from which it recomputes; smaller layers keep activations.
        only_cheap: keeps the results of convolutions, and only layers that are ``cheap`` do it. A compiled network
            then stays as it is: the compiler does this by itself.

    It changes the network in place. Parameters, buffers and their names, outputs and gradients stay the same. A copy of
    the network recomputes, too. Calling this twice is the same as calling it once.

    >>> from padinv.networks.backbone import Bottleneck
    >>> layer = Bottleneck(2, 2)
    >>> recompute_activations(layer)
    >>> layer(torch.ones(2, 2, 4, 4)).sum().backward()
    >>> layer.norm1.num_batches_tracked.item()  # it was computed twice, and has seen one batch
    1
    """
    for module in network.modules():
        if isinstance(module, Recomputable) and (module.cheap or not only_cheap):
            module.forward = partial(_forward, module, minimum_size, only_cheap)


def _forward(module: nn.Module, minimum_size: int, only_cheap: bool, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    forward = partial(type(module).forward, module)
    compiling = torch.compiler.is_compiling()
    if not torch.is_grad_enabled() or x.shape[-1] < minimum_size or (compiling and only_cheap):
        return forward(x, *args, **kwargs)
    if compiling:  # the compiler writes to buffers once
        return checkpoint(forward, x, *args, use_reentrant=False, **kwargs)
    contexts = partial(_contexts, module, only_cheap)
    return checkpoint(forward, x, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _contexts(module: nn.Module, only_cheap: bool) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """The contexts of the forward pass and of its repetition."""
    if not only_cheap:
        return nullcontext(), buffers_kept(module)
    keep, use = create_selective_checkpoint_contexts(CONVOLUTIONS)
    return keep, buffers_kept(module, use)


@contextmanager
def buffers_kept(module: nn.Module, inside: AbstractContextManager[Any] | None = None) -> Iterator[None]:
    """Keeps BatchNorm from counting a batch a second time: inside, it writes to copies of its buffers."""
    kept = {layer: layer._buffers for layer in module.modules() if layer.training}
    for layer, buffers in kept.items():
        layer._buffers = {name: None if buffer is None else buffer.clone() for name, buffer in buffers.items()}
    try:
        with inside or nullcontext():
            yield
    finally:
        for layer, buffers in kept.items():
            layer._buffers = buffers
