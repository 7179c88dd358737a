"""The base class of losses between two images, and the holder of networks that are not trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

if TYPE_CHECKING:
    from typing_extensions import Self


class Frozen(nn.Module):
    """Holds a network that is used and never trained.

    The network is hidden from the module tree, so that it stays as it is whatever happens to the module around it:

    - ``train()`` and ``requires_grad_()`` do not reach it: it is in eval mode, with no trainable parameters;
    - ``parameters()`` does not list it: no optimizer, no gradient clipping and no DDP reducer meets it;
    - ``state_dict()`` does not hold it and ``load_state_dict(strict=True)`` does not ask for it. Its weights can be
      loaded again from their source, and would make up most of a run's checkpoint.

    ``to()``, ``cuda()`` and their like reach it: they all go through ``_apply``, which is passed on.

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
        self.network._apply(fn)  # type: ignore[no-untyped-call]  # torch annotates this method not at all
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
