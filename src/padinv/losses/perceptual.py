"""LPIPS (Zhang et al. 2018): distance in the features of a network trained on ImageNet."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from padinv.exceptions import CheckpointError, MissingPackageError
from padinv.losses.base import Frozen, ReconstructionLoss


class PerceptualLoss(ReconstructionLoss):
    """LPIPS v0.1 with its linear heads, as the lpips package computes it.

    Images of any size from 31 px (``alex``), 16 px (``vgg``) or 17 px (``squeeze``) are taken as they are.

    The heads come with lpips. The backbone is torchvision's, read from PyTorch's cache
    (``$TORCH_HOME/hub/checkpoints``) and fetched into it when it is not there.

    Args:
        net: the backbone.
        weights: a file with the backbone's weights, in torchvision's format, instead of the one in the cache.

    Raises:
        ConfigError: if there is no such backbone.
        WeightsNotFoundError: if the weights are not on this machine and cannot be fetched.
        CheckpointError: if the file does not hold this backbone.
        MissingPackageError: if lpips is not installed.
    """

    metric_name: ClassVar[str | None] = "lpips"

    def __init__(self, net: Literal["alex", "vgg", "squeeze"] = "alex", weights: str | None = None) -> None:
        super().__init__()
        from padinv.checkpoints.weights import lpips_backbone, read_state_dict

        path = lpips_backbone(net).resolve(weights)
        model = _untrained_lpips(net)
        try:
            _load_backbone(model, read_state_dict(path))
        except RuntimeError as error:
            raise CheckpointError(f"{path} does not hold the backbone {net!r} of LPIPS: {error}") from error
        self.lpips = Frozen(model)

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Compares (B, 3, H, W) with (B, 3, H, W), both in [-1, 1]: a scalar."""
        distance: Tensor = self.lpips(reconstruction, target.detach())  # (B, 1, 1, 1)
        return distance.mean()


def _untrained_lpips(net: str) -> nn.Module:
    """LPIPS with its trained heads on a random backbone."""
    try:
        import lpips
    except ImportError as error:
        raise MissingPackageError("PerceptualLoss needs lpips: pip install lpips") from error

    # lpips builds the backbone with a deprecated argument of torchvision, and the random numbers that fill it
    # would otherwise be taken from the run's seed.
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        model: nn.Module = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    return model


def _load_backbone(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads torchvision's ``features.<i>.*`` into the slices of LPIPS, whose layers keep the names ``<i>``."""
    slices = model.get_submodule("net").children()
    layers = nn.ModuleDict({name: layer for part in slices for name, layer in part.named_children()})
    prefix = "features."
    layers.load_state_dict({key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)})
