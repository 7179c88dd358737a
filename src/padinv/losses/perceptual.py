"""LPIPS (Zhang et al. 2018): distance in the features of a network trained on ImageNet."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from padinv.exceptions import CheckpointError
from padinv.losses.base import Frozen, ReconstructionLoss
from padinv.networks.lpips import LPIPS


class PerceptualLoss(ReconstructionLoss):
    """LPIPS v0.1 with its linear heads, as the lpips package computes it (:class:`padinv.networks.lpips.LPIPS`).

    Images of any size from 31 px (``alex``), 16 px (``vgg``) or 17 px (``squeeze``) are taken as they are.

    The heads come with lpips, and AlexNet's weights with padinv. The other backbones are torchvision's, read from
    PyTorch's cache (``$TORCH_HOME/hub/checkpoints``) and fetched into it when they are not there.

    Args:
        net: the backbone.
        weights: a file with the backbone's weights, in torchvision's format, instead of those.

    Attributes:
        metric_name: ``lpips`` with AlexNet, as the field reports it; ``lpips_vgg`` and ``lpips_squeeze``.

    Raises:
        ConfigError: if there is no such backbone.
        WeightsNotFoundError: if the weights are not on this machine and cannot be fetched.
        CheckpointError: if the file does not hold this backbone.
        MissingPackageError: if lpips is not installed.
    """

    metric_name: ClassVar[str | None] = "lpips"

    def __init__(self, net: Literal["alex", "vgg", "squeeze"] = "alex", weights: str | None = None) -> None:
        super().__init__()
        from padinv.checkpoints.weights import lpips_backbone, lpips_heads, read_state_dict

        path = lpips_backbone(net).resolve(weights)
        try:
            network = LPIPS(net).load(read_state_dict(path), lpips_heads(net))
        except RuntimeError as error:
            raise CheckpointError(f"{path} does not hold the backbone {net!r} of LPIPS: {error}") from error
        self.lpips = Frozen(network)
        if net != "alex":
            self.metric_name = f"lpips_{net}"  # type: ignore[misc]  # the class's is the usual one

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Compares (B, 3, H, W) with (B, 3, H, W), both in [-1, 1]: a scalar."""
        return self.each(reconstruction, target).mean()

    def each(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Measures every image by itself: (B,)."""
        network: LPIPS = self.lpips.network  # type: ignore[assignment]
        with torch.no_grad():
            expected = network.unit_features(target)
        return network.compare(network.unit_features(reconstruction), expected)
