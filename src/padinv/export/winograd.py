"""Winograd's algorithm in operators that ONNX has: onnxruntime's convolutions do not use it on CPUs."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor
from torch.nn.modules.utils import _pair

from padinv.ops.winograd import INPUT_TRANSFORM, MINIMUM_CHANNELS, RESULT_TRANSFORM, transform_weight

MINIMUM_SIZE = 16
"""Side in pixels: of smaller maps, to read the transformed weight takes longer than to multiply it."""


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """``F.conv2d``, which is done by Winograd's algorithm where that pays: 3×3, of stride 1, of wide maps.

    >>> import torch
    >>> x, weight = torch.randn(1, 128, 18, 18), torch.randn(128, 128, 3, 3) / 34
    >>> torch.allclose(conv2d(x, weight), F.conv2d(x, weight), atol=1e-4)
    True
    """
    plain = weight.shape[2:] == (3, 3) and _pair(stride) == _pair(dilation) == (1, 1) and groups == 1
    margin = _pair(padding)
    if not plain or margin not in ((0, 0), (1, 1)) or min(weight.shape[:2]) < MINIMUM_CHANNELS:
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    height, width = (size + 2 * margin[0] - 2 for size in x.shape[2:])
    if min(height, width) < MINIMUM_SIZE or height % 4 or width % 4:
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    return _winograd(x, weight, margin) if bias is None else _winograd(x, weight, margin) + bias[:, None, None]


def _winograd(x: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
    """As :func:`padinv.ops.winograd.winograd`, in the order in which onnxruntime has maps: channels first."""
    channels = weight.shape[1]
    # A convolution of each channel by itself cuts the tiles out and transforms them.
    to_tiles = repeat(INPUT_TRANSFORM.to(x), "k (i j) -> (c k) 1 i j", c=channels, i=6)
    tiles = F.conv2d(x, to_tiles, stride=4, padding=padding, groups=channels)
    v = rearrange(tiles, "b (c k) h w -> k b c (h w)", c=channels)
    m = rearrange(transform_weight(weight), "k i o -> k 1 o i") @ v
    # Turned, so that four pixels of a row of the result come to lie side by side; the product itself turns matrices.
    y = m.flatten(1).T @ RESULT_TRANSFORM.to(x).T
    sizes = {"o": weight.shape[0], "h": tiles.shape[2], "w": tiles.shape[3], "i": 4, "j": 4}
    return rearrange(y, "(b o h w) (i j) -> b o (h i) (w j)", **sizes)
