"""The transposed convolution as four convolutions: onnxruntime's takes longer than they do."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from padinv.ops.transposed_conv import split_taps


def conv_transpose2d(x: Tensor, weight: Tensor, *args: Any, **options: Any) -> Tensor:
    """``F.conv_transpose2d``, which is four convolutions where it doubles a map: 3×3, stride 2, output padding 1.

    >>> x, weight = torch.randn(1, 2, 5, 5), torch.randn(2, 3, 3, 3)
    >>> y = conv_transpose2d(x, weight, stride=2, output_padding=1)
    >>> torch.allclose(y, F.conv_transpose2d(x, weight, stride=2, output_padding=1), atol=1e-5)
    True
    """
    if args or options != {"stride": 2, "output_padding": 1} or weight.shape[2:] != (3, 3):
        return F.conv_transpose2d(x, weight, *args, **options)
    return _double(x, weight)


def _double(x: Tensor, weight: Tensor) -> Tensor:
    rows = []
    for i, kernels in enumerate(split_taps(weight.transpose(0, 1))):
        # Odd pixels, of one tap, are one fewer than even ones: the missing ones are zeros, as beyond the map.
        parts = [F.conv2d(F.pad(x, (0, j, 0, i)), kernel, padding=(1 - i, 1 - j)) for j, kernel in enumerate(kernels)]
        rows.append(rearrange(torch.stack(parts, dim=-1), "b o h w j -> b o h (w j)"))
    return rearrange(torch.stack(rows, dim=3), "b o h i w -> b o (h i) w")
