"""LPIPS (Zhang et al. 2018): distance in the features of a network trained on ImageNet."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from padinv.exceptions import CheckpointError, ConfigError
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
        size: side in pixels to which smaller images are enlarged first, bilinearly. AlexNet looks at every fourth pixel
            alone: what is optimized against it at 64 px gets a grain that it does not see, and enlarged to 256 px less.

    Attributes:
        metric_name: ``lpips`` with AlexNet, as the field reports it; ``lpips_vgg``, ``lpips_alex_256px`` and so on for
            anything else.

    Raises:
        ConfigError: if there is no such backbone.
        WeightsNotFoundError: if the weights are not on this machine and cannot be fetched.
        CheckpointError: if the file does not hold this backbone.
        MissingPackageError: if lpips is not installed.
    """

    metric_name: ClassVar[str | None] = "lpips"

    def __init__(
        self, net: Literal["alex", "vgg", "squeeze"] = "alex", weights: str | None = None, size: int | None = None
    ) -> None:
        super().__init__()
        if size is not None and size < 1:
            raise ConfigError(f"size of PerceptualLoss is a number of pixels, not {size}.")
        from padinv.checkpoints.weights import lpips_backbone, lpips_heads, read_state_dict

        path = lpips_backbone(net).resolve(weights)
        try:
            network = LPIPS(net).load(read_state_dict(path), lpips_heads(net))
        except RuntimeError as error:
            raise CheckpointError(f"{path} does not hold the backbone {net!r} of LPIPS: {error}") from error
        self.lpips = Frozen(network)
        self.size = size
        if net != "alex" or size is not None:
            name = f"lpips_{net}" + (f"_{size}px" if size else "")
            self.metric_name = name  # type: ignore[misc]  # the class's is the usual one

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Compares (B, 3, H, W) with (B, 3, H, W), both in [-1, 1]: a scalar."""
        return self.each(reconstruction, target).mean()

    def each(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Measures every image separately: (B,)."""
        network: LPIPS = self.lpips.network  # type: ignore[assignment]
        with torch.no_grad():
            expected = network.unit_features(self._enlarged(target))
        return network.compare(network.unit_features(self._enlarged(reconstruction)), expected)

    def _enlarged(self, images: Tensor) -> Tensor:
        if self.size is None or max(images.shape[-2:]) >= self.size:
            return images
        return F.interpolate(images, size=(self.size, self.size), mode="bilinear")
