"""Networks for inference alone: what depends only on weights is computed once."""

from __future__ import annotations

import copy
from typing import NamedTuple, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor, nn

from padinv.cpu.doubling import Taps, split_taps
from padinv.cpu.winograd import keep_transformed

Network = TypeVar("Network", bound=nn.Module)


class FrozenWeight(NamedTuple):
    """What a layer computes from its weight (O, I, 3, 3) at every call, kept once the weight no longer changes.

    Args:
        energy: Σ_k w_oik², (O, I).
        transformed: :func:`padinv.cpu.winograd.transform_weight`, None where that algorithm is not used.
        taps: :func:`padinv.cpu.doubling.split_taps`, None unless the layer doubles its map.
    """

    energy: Tensor
    transformed: Tensor | None = None
    taps: Taps | None = None

    @classmethod
    def of(cls, weight: Tensor, up: bool, dtype: torch.dtype | None = None) -> FrozenWeight:
        """Computes it; ``up`` says whether the weight is for doubling, ``dtype`` what it will be cast to."""
        energy = weight.float().square().sum(dim=(2, 3))
        weight = weight.to(dtype)
        return cls(energy, taps=split_taps(weight)) if up else cls(energy, keep_transformed(weight))


@runtime_checkable
class Foldable(Protocol):
    """A layer that can compute something once, for inference."""

    def folded(self, dtype: torch.dtype | None) -> nn.Module:
        """Returns the layer for inference: itself, changed in place, or its replacement.

        Args:
            dtype: type of the weights of convolutions; None leaves it.
        """


@torch.inference_mode(False)
@torch.no_grad()
def fold(network: Network, dtype: torch.dtype | None = None) -> Network:
    """Makes a copy for inference alone, which computes the same results in less time.

    Each layer that is :class:`Foldable` folds itself: BatchNorm goes into the convolution before it, and what depends
    on weights alone is computed, on a CPU also their transforms for Winograd's algorithm, which take four times their
    memory. Other layers stay as they are.

    Args:
        network: an encoder or a generator, frozen and in evaluation mode. The copy shares what does not change.
        dtype: type of the weights of convolutions, for use under ``torch.autocast`` of that type, which would cast them
            at each call; None leaves it.

    Returns:
        The copy.
    """
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return cast(Network, _folded(copy.deepcopy(network, memo=shared), dtype))


def _folded(module: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    # A layer comes before its parts: a bottleneck gives the norm to a convolution, which is then folded with it.
    module = module.folded(dtype) if isinstance(module, Foldable) else module
    if isinstance(module, nn.Conv2d | nn.Conv1d) and dtype is not None:
        module.weight = nn.Parameter(module.weight.to(dtype), requires_grad=False)
    for name, child in module.named_children():
        setattr(module, name, _folded(child, dtype))
    return module
