"""The transposed convolution as four convolutions: onnxruntime's takes longer than they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.overrides import TorchFunctionMode

from padinv.ops.transposed_conv import split_taps


class DoublingConvolutions(TorchFunctionMode):
    """Within it, ``F.conv_transpose2d`` is four convolutions where it doubles a map: 3×3, stride 2, output padding 1.

    >>> x, weight = torch.randn(1, 2, 5, 5), torch.randn(2, 3, 3, 3)
    >>> with DoublingConvolutions():
    ...     y = F.conv_transpose2d(x, weight, stride=2, output_padding=1)
    >>> torch.allclose(y, F.conv_transpose2d(x, weight, stride=2, output_padding=1), atol=1e-5)
    True
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replaces the one function."""
        kwargs = kwargs or {}
        doubles = kwargs == {"stride": 2, "output_padding": 1} and args[1].shape[2:] == (3, 3)
        return _double(*args) if func is F.conv_transpose2d and doubles else func(*args, **kwargs)


def _double(x: Tensor, weight: Tensor) -> Tensor:
    rows = []
    for i, kernels in enumerate(split_taps(weight.transpose(0, 1))):
        # Odd pixels, of one tap, are one fewer than even ones: the missing ones are zeros, as beyond the map.
        parts = [F.conv2d(F.pad(x, (0, j, 0, i)), kernel, padding=(1 - i, 1 - j)) for j, kernel in enumerate(kernels)]
        rows.append(rearrange(torch.stack(parts, dim=-1), "b o h w j -> b o h (w j)"))
    return rearrange(torch.stack(rows, dim=3), "b o h i w -> b o (h i) w")
