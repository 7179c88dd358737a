"""StyleGAN2's resampling filter, the binomial [1, 3, 3, 1] (Karras et al. 2019, appendix B), in its three uses.

The two-dimensional filter is the outer product of the one-dimensional one, which sums to 1.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def fir_kernel() -> Tensor:
    """The filter [1, 3, 3, 1] ⊗ [1, 3, 3, 1] / 64, (4, 4), which sums to 1.

    >>> fir_kernel().sum().item()
    1.0
    """
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float32)
    return torch.outer(taps, taps) / 64


def blur(x: Tensor, kernel: Tensor, *, padding: tuple[int, int], gain: float = 1.0) -> Tensor:
    """Filters each channel separately.

    Args:
        x: (B, C, H, W).
        kernel: (4, 4), symmetric.
        padding: how many zeros are laid before and after each row and column.
        gain: factor on the result, 4 after upsampling by zero insertion.

    Returns:
        (B, C, H + before + after - 3, W + before + after - 3).
    """
    kernel = kernel * gain
    filtered: Tensor = _Filter.apply(x, kernel, padding) if x.requires_grad else _filter(x, kernel, padding)
    return filtered


def _filter(x: Tensor, kernel: Tensor, padding: tuple[int, int]) -> Tensor:
    channels, (before, after) = x.shape[1], padding
    weight = kernel.to(x.dtype).expand(channels, 1, 4, 4)
    if before == after:
        return F.conv2d(x, weight, padding=before, groups=channels)
    if torch.compiler.is_exporting():  # onnxruntime pads as it convolves, but slices slowly
        return F.conv2d(F.pad(x, (*padding, *padding)), weight, groups=channels)
    most = max(padding)
    rows, columns = (slice(most - before, most - before + size + before + after - 3) for size in x.shape[2:])
    return F.conv2d(x, weight, padding=most, groups=channels)[:, :, rows, columns]


class _Filter(torch.autograd.Function):
    """Filters without keeping the map, which PyTorch would keep for a gradient to the filter."""

    @staticmethod
    def forward(x: Tensor, kernel: Tensor, padding: tuple[int, int]) -> Tensor:
        return _filter(x, kernel, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, tuple[int, int]], output: Tensor) -> None:
        _, kernel, ctx.padding = inputs
        ctx.save_for_backward(kernel)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (kernel,) = ctx.saved_tensors
        before, after = ctx.padding
        # A symmetric filter is its own transpose.
        return blur(gradient, kernel, padding=(3 - before, 3 - after)), None, None


def blur_downsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Halves the size: filter, then every second pixel.

    Args:
        x: (B, C, H, W), even sizes.
        kernel: (4, 4), symmetric.

    Returns:
        (B, C, H / 2, W / 2).
    """
    channels = x.shape[1]
    return F.conv2d(x, kernel.to(x.dtype).expand(channels, 1, 4, 4), stride=2, padding=1, groups=channels)


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Doubles the size: zeros between the pixels, then the filter with gain 4.

    Args:
        x: (B, C, H, W).
        kernel: (4, 4), symmetric.

    Returns:
        (B, C, 2H, 2W).
    """
    channels = x.shape[1]
    weight = (kernel * 4).to(x.dtype).expand(channels, 1, 4, 4)
    return F.conv_transpose2d(x, weight, stride=2, padding=1, groups=channels)
