"""Resizing as products of matrices: onnxruntime's Resize took more than half of the encoder's time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class SeparableResizing(TorchFunctionMode):
    """Within it, ``F.interpolate`` to a given size, bilinear or bicubic, is A · x · Bᵀ, the same but for rounding.

    >>> x = torch.rand(1, 2, 5, 5)
    >>> with SeparableResizing():
    ...     y = F.interpolate(x, size=(7, 9), mode="bicubic", align_corners=True)
    >>> torch.allclose(y, F.interpolate(x, size=(7, 9), mode="bicubic", align_corners=True), atol=1e-6)
    True
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replaces the one function."""
        kwargs = kwargs or {}
        if func is not F.interpolate or kwargs.get("mode") not in ("bilinear", "bicubic") or not kwargs.get("size"):
            return func(*args, **kwargs)
        x: Tensor = args[0]
        options = {name: kwargs.get(name) for name in ("mode", "align_corners")}
        rows, columns = (_matrix(old, new, options) for old, new in zip(x.shape[-2:], kwargs["size"], strict=True))
        return rows @ x @ columns.T


def _matrix(old: int, new: int, options: dict[str, Any]) -> Tensor:
    """(new, old): what becomes of a one at each place."""
    resized = F.interpolate(torch.eye(old).view(1, old, old, 1), size=(new, 1), **options)
    return resized.view(old, new).T
