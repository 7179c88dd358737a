"""Replaces torch's operators in ONNX files by others that onnxruntime computes faster on CPUs.

onnxruntime's convolutions do not use Winograd's algorithm, its transposed convolution takes longer than the four
convolutions that do the same, and its Resize took more than half of the encoder's time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode

from padinv.cpu.doubling import split_taps
from padinv.cpu.winograd import INPUT_TRANSFORM, MINIMUM_CHANNELS, RESULT_TRANSFORM, transform_weight

MINIMUM_SIZE = 16
"""Side in pixels. With smaller maps, reading the transformed weight takes longer than multiplying it."""

Others: TypeAlias = dict[Callable[..., Any], Callable[..., Any]]
"""What is called instead, by function."""


class Replacing(TorchFunctionMode):
    """A context in which calls of some torch functions go to others, with the same arguments.

    Args:
        others: what is called instead, by function. Inside these, calls go to torch's own functions again.

    >>> with Replacing({torch.sin: torch.cos}):
    ...     torch.sin(torch.zeros(1))
    tensor([1.])
    """

    def __init__(self, others: Others) -> None:
        super().__init__()
        self.others = others

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Calls the other function, if there is one."""
        return self.others.get(func, func)(*args, **kwargs or {})


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Computes ``F.conv2d``, by Winograd's algorithm where that pays: 3×3, stride 1, wide maps.

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
    """Computes :func:`padinv.cpu.winograd.winograd` with channels first, as onnxruntime lays out maps."""
    channels = weight.shape[1]
    # A depthwise convolution cuts the tiles out and transforms them in one operator.
    to_tiles = repeat(INPUT_TRANSFORM.to(x), "k (i j) -> (c k) 1 i j", c=channels, i=6)
    tiles = F.conv2d(x, to_tiles, stride=4, padding=padding, groups=channels)
    v = rearrange(tiles, "b (c k) h w -> k b c (h w)", c=channels)
    m = rearrange(transform_weight(weight), "k i o -> k 1 o i") @ v
    # Transposed so that four pixels of a row of the result lie side by side; the matrix product transposes for free.
    y = m.flatten(1).T @ RESULT_TRANSFORM.to(x).T
    sizes = {"o": weight.shape[0], "h": tiles.shape[2], "w": tiles.shape[3], "i": 4, "j": 4}
    return rearrange(y, "(b o h w) (i j) -> b o (h i) (w j)", **sizes)


def conv_transpose2d(x: Tensor, weight: Tensor, *args: Any, **options: Any) -> Tensor:
    """Computes ``F.conv_transpose2d``, by four convolutions where it doubles a map: 3×3, stride 2, output padding 1.

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
        # A row has one odd pixel fewer than even ones, and so has a column: the missing ones are zeros.
        parts = [F.conv2d(F.pad(x, (0, j, 0, i)), kernel, padding=(1 - i, 1 - j)) for j, kernel in enumerate(kernels)]
        rows.append(rearrange(torch.stack(parts, dim=-1), "b o h w j -> b o h (w j)"))
    return rearrange(torch.stack(rows, dim=3), "b o h i w -> b o (h i) w")


def interpolate(x: Tensor, *args: Any, **options: Any) -> Tensor:
    """Computes ``F.interpolate``; to a given size, bilinear or bicubic, as A · x · Bᵀ, the same except for rounding.

    >>> x = torch.rand(1, 2, 5, 5)
    >>> y = interpolate(x, size=(7, 9), mode="bicubic", align_corners=True)
    >>> torch.allclose(y, F.interpolate(x, size=(7, 9), mode="bicubic", align_corners=True), atol=1e-6)
    True
    """
    if options.get("mode") not in ("bilinear", "bicubic") or not options.get("size"):
        return F.interpolate(x, *args, **options)
    kind = {name: options.get(name) for name in ("mode", "align_corners")}
    rows, columns = (_matrix(old, new, kind) for old, new in zip(x.shape[-2:], options["size"], strict=True))
    return rows @ x @ columns.T


def _matrix(old: int, new: int, options: dict[str, Any]) -> Tensor:
    """Makes the matrix (new, old) of a resizing: column i is what a 1 at place i becomes."""
    resized = F.interpolate(torch.eye(old).view(1, old, old, 1), size=(new, 1), **options)
    return resized.view(old, new).T


RESIZING: Others = {F.interpolate: interpolate}
CONVOLUTIONS: Others = {F.conv2d: conv2d, F.conv_transpose2d: conv_transpose2d}
"""The replacements above, by the function that each stands for."""
