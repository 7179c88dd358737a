"""The transposed 3×3 convolution of stride 2 that doubles a map, as four convolutions where that is faster.

On CPUs PyTorch's own runs at half the speed of a convolution. The pixels of the result are of four kinds, in even or
odd rows and columns. Each kind is a convolution with the taps of the weight that reach it: 2×2, 2×1, 1×2 and 1×1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

Taps = list[list[Tensor]]


def transposed_conv3x3(x: Tensor, weight: Tensor, taps: Taps | None = None) -> Tensor:
    """Doubles a map.

    Args:
        x: (B, I, H, W).
        weight: (O, I, 3, 3).
        taps: :func:`split_taps` of the weight, if already computed.

    Returns:
        (B, O, 2H + 2, 2W + 2), whose last row and column are zero.
    """
    if x.device.type != "cpu" or torch.compiler.is_exporting():
        return F.conv_transpose2d(x, weight.transpose(0, 1), stride=2, output_padding=1)
    # A row has one odd pixel fewer than even ones, and so has a column: the missing ones are the zeros.
    return _interleave(
        [
            [F.conv2d(x, kernel, padding=1)[:, :, i:, j:] for j, kernel in enumerate(kernels)]
            for i, kernels in enumerate(taps or split_taps(weight))
        ]
    )


def _interleave(pixels: list[list[Tensor]]) -> Tensor:
    """Maps of even and odd rows, each of even and odd columns, (B, O, H, W), as one (B, O, 2H, 2W), channels last."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        rows = [rearrange(torch.cat(row, dim=1), "b (j o) h w -> b h (w j o)", j=2) for row in pixels]
        doubled = rearrange(torch.cat(rows, dim=-1), "b h (i w o) -> b (h i) w o", i=2, o=pixels[0][0].shape[1])
    else:  # one copy; two stacks would be two, and four in the gradient
        batch, channels, height, width = pixels[0][0].shape
        doubled = pixels[0][0].new_empty(batch, 2 * height, 2 * width, channels)
        for i, row in enumerate(pixels):
            for j, part in enumerate(row):
                doubled[:, i::2, j::2] = part.movedim(1, -1)
    return doubled.movedim(-1, 1)  # a permutation, after which PyTorch still takes one image for channels-last


def split_taps(weight: Tensor) -> Taps:
    """The kernels of (O, I, 3, 3) for even and odd rows, each for even and odd columns."""
    taps = slice(0, 3, 2), slice(1, 2)
    layout = torch.channels_last if weight.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    weight = weight.flip(2, 3)
    return [[weight[:, :, i, j].contiguous(memory_format=layout) for j in taps] for i in taps]
