"""Layers with an equalized learning rate (Karras et al. 2018, section 4.1), and StyleGAN2's activation.

A weight is stored as N(0, 1) / lr_mul and used times lr_mul / √fan_in; a bias is used times lr_mul.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def limit(x: Tensor, bound: float | None) -> Tensor:
    """Clamps to [-bound, bound], in place where no gradient needs the values before; None for no bound.

    >>> limit(torch.tensor([-3.0, 0.5, 3.0]), 2).tolist(), limit(torch.tensor([3.0]), None).tolist()
    ([-2.0, 0.5, 2.0], [3.0])
    """
    if bound is None:
        return x
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return x.clamp(-bound, bound)
    return x.clamp_(-bound, bound)


def scaled_leaky_relu(x: Tensor, bound: float | None = None) -> Tensor:
    """√2 · leaky_relu(x, 0.2): keeps the variance of a unit normal input near 1.

    Args:
        x: a tensor of any shape.
        bound: largest absolute value of the result; None for no bound.

    >>> [round(v, 3) for v in scaled_leaky_relu(torch.tensor([1.0, -1.0])).tolist()]
    [1.414, -0.283]
    """
    return limit(F.leaky_relu(x, 0.2) * math.sqrt(2), bound)


class EqualizedLinear(nn.Module):
    """Dense layer with an equalized learning rate.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        lr_mul: multiplier of the learning rate, 0.01 in the mapping network.
        bias_init: value that the bias has in effect at the start, 1 for styles.
    """

    def __init__(self, in_features: int, out_features: int, *, lr_mul: float = 1.0, bias_init: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_mul))
        self.lr_mul = lr_mul
        self.gain = lr_mul / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., in_features) to (..., out_features)."""
        bias = self.bias if self.lr_mul == 1 else self.bias * self.lr_mul
        return F.linear(x, self.weight * self.gain, bias)

    def folded(self, dtype: torch.dtype | None) -> nn.Linear:
        """A dense layer whose weight is what the equalized learning rate makes of it (:func:`padinv.cpu.fold`)."""
        linear = nn.Linear(self.weight.shape[1], self.weight.shape[0], device="meta")
        linear.weight = nn.Parameter((self.weight * self.gain).to(dtype), requires_grad=False)
        linear.bias = nn.Parameter(self.bias * self.lr_mul, requires_grad=False)
        return linear


class EqualizedConv2d(nn.Module):
    """Convolution with an equalized learning rate and "same" zero padding at stride 1.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: 1 or 3.
        bias: whether it adds a bias.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.padding = kernel_size // 2

    def forward(self, x: Tensor, *, stride: int = 1, padding: int | None = None) -> Tensor:
        """Convolves (B, in_channels, H, W); ``padding`` overrides the default of half the kernel."""
        padding = self.padding if padding is None else padding
        return F.conv2d(x, self.weight * self.gain, self.bias, stride=stride, padding=padding)
