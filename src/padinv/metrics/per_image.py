"""Metrics that keep the value of every image, from which means, intervals, distributions and tables are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from padinv.images import from_bytes
from padinv.losses.base import ReconstructionLoss

Value = TypeVar("Value")

Measure: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Reconstructions and targets, (B, 3, H, W) in [-1, 1], to one number for each, (B,)."""


def mean_square(reconstruction: Tensor, target: Tensor) -> Tensor:
    """Mean over pixels and channels of the squared difference of images in [-1, 1], (B,).

    Images of 8 bits, which stand for these, are compared without making images of floats of them.

    >>> mean_square(torch.full((1, 3, 2, 2), 0.5), torch.zeros(1, 3, 2, 2)).tolist()
    [0.25]
    """
    if reconstruction.dtype == target.dtype == torch.uint8:
        pairs = (_as_they_lie(a, b) for a, b in zip(reconstruction, target, strict=True))
        sums = [_sum_of_squares(a.reshape(-1), b.reshape(-1)) for a, b in pairs]
        return torch.stack(sums) / (target[0].numel() * 127.5**2)
    # One of a pair may have come in 8 bits, the other resized.
    return (from_bytes(reconstruction) - from_bytes(target)).square().mean(dim=(1, 2, 3))


AT_ONCE = 1 << 17
"""Numbers that are subtracted at once: few calls for a picture of 256 px, and parts that stay in the cache."""

EXACT = 1 << 14
"""Squares that are summed at once: in each lane of float32 their sum is still exact; of more, digits are lost."""


def _sum_of_squares(a: Tensor, b: Tensor) -> Tensor:
    """Σ (a - b)² of bytes (N,)."""
    blocks = zip(torch.split(a, AT_ONCE), torch.split(b, AT_ONCE), strict=True)
    differences = (part for x, y in blocks for part in torch.split(x.float().sub_(y), EXACT))
    return torch.stack([torch.dot(one, one) for one in differences]).sum()


def _as_they_lie(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two images with their axes in the order of memory, if both have the same order."""
    if a.is_contiguous() or b.is_contiguous():
        return a, b
    return a.movedim(0, -1), b.movedim(0, -1)


def peak_signal_to_noise(reconstruction: Tensor, target: Tensor) -> Tensor:
    """10·log10(2² / mean square) in dB of each image, (B,); ∞ for equal ones.

    >>> peak_signal_to_noise(torch.full((1, 3, 2, 2), 0.2), torch.zeros(1, 3, 2, 2)).round().tolist()
    [20.0]
    """
    return 10 * torch.log10(4 / mean_square(reconstruction, target))


class Shared(Generic[Value]):
    """Keeps what measures out of a metric's module tree, and the metric's copies from copying it."""

    def __init__(self, value: Value) -> None:
        self.value = value

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared[Value]:
        return self


class PerImage(Metric):
    """The values of all images of all batches and ranks; :meth:`compute` is their mean.

    The metric does not own what measures: copies of the metric share it, and its state does not have it.

    Args:
        measure: gives one number for each image; or a loss, which then moves to the device of the images.
        **kwargs: those of every torchmetrics metric.

    >>> metric = PerImage(mean_square)
    >>> metric.update(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2))
    >>> metric.update(torch.zeros(3, 3, 2, 2), torch.zeros(3, 3, 2, 2))
    >>> metric.compute().item(), metric.values.tolist()
    (0.25, [1.0, 0.0, 0.0, 0.0])
    """

    is_differentiable = False
    full_state_update = False

    parts: list[Tensor]

    def __init__(self, measure: Measure | ReconstructionLoss, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._shared = Shared(measure)
        self.add_state("parts", [], dist_reduce_fx="cat")

    @property
    def measure(self) -> Measure | ReconstructionLoss:
        """What measures."""
        return self._shared.value

    @torch.no_grad()
    def update(self, preds: Tensor, target: Tensor) -> None:
        """Adds reconstructions (B, 3, H, W) of targets (B, 3, H, W), both in [-1, 1]."""
        measure = self.measure
        if isinstance(measure, ReconstructionLoss):
            measure = measure.to(preds.device).each
        preds, target = (images.float() if images.is_floating_point() else images for images in (preds, target))
        with torch.autocast(preds.device.type, enabled=False):  # half precision would round small distances away
            self.append(measure(preds, target))

    def append(self, values: Tensor) -> None:
        """Adds values (B,) that were measured elsewhere."""
        self.parts.append(values.float())

    @property
    def values(self) -> Tensor:
        """The value of each image of this rank so far, (N,)."""
        return dim_zero_cat(self.parts) if len(self.parts) else torch.zeros(0)

    def gathered_values(self) -> Tensor:
        """The value of each image of all ranks, rank by rank, (N,)."""
        with self.sync_context(
            dist_sync_fn=self.dist_sync_fn,
            distributed_available=self.distributed_available_fn,
        ):
            return self.values

    def compute(self) -> Tensor:
        """The mean so far: a scalar."""
        return self.values.double().mean().float()
