"""Averages a loss as a metric, so that validation uses the same networks as training."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torchmetrics import Metric

from padinv.losses.base import ReconstructionLoss

Value = TypeVar("Value")


class Shared(Generic[Value]):
    """Keeps a loss, or whatever measures, out of a metric's module tree, and the metric's copies from copying it."""

    def __init__(self, value: Value) -> None:
        self.value = value

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared[Value]:
        return self


class MeanLoss(Metric):
    """Average of a loss over all images of all batches and ranks: each image counts the same, whatever its batch.

    The metric does not own the loss: the loss is not in the metric's state dict, and is shared by the metric's copies
    and clones. It is moved to the device of the images, where a loss of the training already is.

    Args:
        loss: a batch mean.
        **kwargs: those of every torchmetrics metric.

    >>> from padinv.losses import PixelLoss
    >>> metric = MeanLoss(PixelLoss())
    >>> metric.update(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2))
    >>> metric.update(torch.zeros(3, 3, 2, 2), torch.zeros(3, 3, 2, 2))
    >>> metric.compute().item()
    0.25
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self, loss: ReconstructionLoss, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._shared = Shared(loss)
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    @property
    def loss(self) -> ReconstructionLoss:
        """The loss that is averaged."""
        return self._shared.value

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Adds reconstructions (B, 3, H, W) of targets (B, 3, H, W), both in [-1, 1]."""
        loss = self.loss.to(preds.device)
        with torch.autocast(preds.device.type, enabled=False):  # half precision would round small distances away
            self.total += loss(preds.float(), target.float()) * len(preds)
        self.count += len(preds)

    def compute(self) -> Tensor:
        """The average so far: a scalar."""
        return self.total / self.count
