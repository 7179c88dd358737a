"""What can be computed once when weights no longer change: a network for inference alone."""

from __future__ import annotations

import copy
from typing import TypeVar, cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from padinv.networks.backbone import Bottleneck, Conv3x3, IResNet
from padinv.networks.generator import StyleConv
from padinv.ops.equalized import EqualizedLinear
from padinv.ops.modulated_conv import FrozenWeight
from padinv.ops.winograd import keep_transformed

Network = TypeVar("Network", bound=nn.Module)


@torch.inference_mode(False)
@torch.no_grad()
def fold(network: Network, dtype: torch.dtype | None = None) -> Network:
    """A copy for inference alone that computes the same in less time.

    BatchNorm goes into the convolution before it, and what depends on weights alone is computed: on a CPU also their
    transforms for Winograd's algorithm, which take four times their memory. Networks of other kinds stay as they are.

    Args:
        network: an encoder or a generator, frozen and in evaluation mode. What does not change is not copied.
        dtype: of the weights of convolutions, to run under ``torch.autocast`` of the same, which would cast them each
            time; theirs if not given.

    Returns:
        The copy.
    """
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    network = copy.deepcopy(network, memo=shared)
    for module in network.modules():
        if isinstance(module, IResNet):
            module.stem = _fold_norm(module.stem)
        elif isinstance(module, Bottleneck):
            module.conv2 = fuse_conv_bn_eval(module.conv2, cast(nn.BatchNorm2d, module.norm2))
            module.norm2 = nn.Identity()
            if isinstance(module.shortcut, nn.Sequential):
                module.shortcut = _fold_norm(module.shortcut)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, EqualizedLinear):
                setattr(module, name, _fold_gain(child, dtype))
        if isinstance(module, StyleConv):
            module.frozen = FrozenWeight.of(module.weight, module.up, dtype)
        if isinstance(module, StyleConv | nn.Conv2d | nn.Conv1d) and dtype is not None:
            module.weight = nn.Parameter(module.weight.to(dtype), requires_grad=False)
        if isinstance(module, Conv3x3) and module.stride == (1, 1):
            module.transformed = keep_transformed(module.weight)
    return network


def _fold_gain(layer: EqualizedLinear, dtype: torch.dtype | None) -> nn.Linear:
    """A dense layer whose weight is what the equalized learning rate makes of it."""
    linear = nn.Linear(layer.weight.shape[1], layer.weight.shape[0], device="meta")
    linear.weight = nn.Parameter((layer.weight * layer.gain).to(dtype), requires_grad=False)
    linear.bias = nn.Parameter(layer.bias * layer.lr_mul, requires_grad=False)
    return linear


def _fold_norm(layers: nn.Module) -> nn.Sequential:
    """A convolution, a BatchNorm and what may follow, without the BatchNorm."""
    conv, norm, *rest = layers.children()
    return nn.Sequential(fuse_conv_bn_eval(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm)), *rest)
