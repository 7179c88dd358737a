"""The base class of losses between two images, their weighted sum, and the holder of networks that are not trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from padinv.exceptions import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Self


class Frozen(nn.Module):
    """Holds a network that is used and never trained.

    The network is hidden from the module tree, and keeps its state through all that happens to the module around it:

    - ``train()`` and ``requires_grad_()`` do not reach it: it is in eval mode, with no trainable parameters;
    - ``parameters()`` does not list it: no optimizer, no gradient clipping and no DDP reducer meets it;
    - ``state_dict()`` does not hold it and ``load_state_dict(strict=True)`` does not ask for it. Its weights can be
      loaded again from their source, and would make up most of a run's checkpoint.

    ``to()``, ``cuda()`` and the like do reach it: they all call ``_apply``, which is passed on.

    Args:
        network: put into eval mode and frozen, in place.

    >>> import torch
    >>> frozen = Frozen(nn.Linear(1, 1).double())
    >>> list(frozen.parameters()), list(frozen.state_dict()), frozen.train().network.training
    ([], [], False)
    >>> frozen.float().network.weight.dtype
    torch.float32
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._held = (network.eval().requires_grad_(False),)  # nn.Module registers modules, but not tuples of them

    @property
    def network(self) -> nn.Module:
        """The network itself, for its other methods."""
        return self._held[0]

    def forward(self, *args: Any) -> Any:
        """Calls the network."""
        return self.network(*args)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.network._apply(fn)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class ReconstructionLoss(nn.Module, ABC):
    """How far reconstructions are from their targets. Networks inside are wrapped in :class:`Frozen`.

    Attributes:
        metric_name: the key under which validation reports this loss; None where another metric says it already.
    """

    metric_name: ClassVar[str | None] = None

    @abstractmethod
    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Measures a batch; the gradient reaches the reconstruction only.

        Args:
            reconstruction: (B, 3, H, W) in [-1, 1].
            target: (B, 3, H, W) in [-1, 1].

        Returns:
            A scalar, the mean over the batch.
        """

    def each(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Measures every image separately: (B,), whose mean is the loss of the batch.

        This default calls the loss for one image at a time. Losses that can measure all at once override it.
        """
        pairs = zip(reconstruction, target, strict=True)
        return torch.stack([self(image[None], expected[None]) for image, expected in pairs])

    def parts(self) -> Iterator[ReconstructionLoss]:
        """The losses that are measured and reported one by one: this one, or those that it is the sum of."""
        yield self


class WeightedSum(ReconstructionLoss):
    """Several losses as one term of the training's: Σ weight·loss. Validation reports each of them.

    Args:
        losses: the losses to sum.
        weights: one for each; all 1 if not given.

    Raises:
        ConfigError: if there are no losses, not as many weights as losses, or a weight that is not 0 or more.

    >>> from padinv.losses import PixelLoss
    >>> loss = WeightedSum([PixelLoss(), PixelLoss(squared=False)], [1.0, 0.5])
    >>> loss(torch.ones(1, 3, 1, 3), torch.zeros(1, 3, 1, 3)).item()  # 1 + √9 / 2
    2.5
    """

    def __init__(self, losses: list[ReconstructionLoss], weights: list[float] | None = None) -> None:
        super().__init__()
        weights = [1.0] * len(losses) if weights is None else weights
        if not losses or len(weights) != len(losses) or not all(weight >= 0 for weight in weights):
            raise ConfigError(
                f"WeightedSum takes one weight of 0 or more for each of its losses, not {weights} for {len(losses)}."
            )
        self.losses = nn.ModuleList(losses)
        self.weights = list(weights)

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Compares (B, 3, H, W) with (B, 3, H, W), both in [-1, 1]: a scalar."""
        return self._sum(loss(reconstruction, target) for loss in self._losses())

    def each(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Measures every image separately: (B,)."""
        return self._sum(loss.each(reconstruction, target) for loss in self._losses())

    def parts(self) -> Iterator[ReconstructionLoss]:
        """The parts of the losses that are summed."""
        for loss in self._losses():
            yield from loss.parts()

    def _losses(self) -> Iterator[ReconstructionLoss]:
        for loss in self.losses:
            assert isinstance(loss, ReconstructionLoss)
            yield loss

    def _sum(self, values: Iterable[Tensor]) -> Tensor:
        return torch.stack([weight * value for weight, value in zip(self.weights, values, strict=True)]).sum(dim=0)
