"""Distance in the features of a GAN's own discriminator: perceptual, fits its domain, and needs no download."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from padinv.exceptions import ConfigError
from padinv.losses.base import Frozen, ReconstructionLoss


def feature_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of the unit-length channel vectors at each position, mean over positions and batch.

    Like LPIPS without its heads. It equals 2·(1 - cos), from 0 to 4, at any scale of the layer, so no layer
    outweighs the others. The gradient at a vector of zeros is finite.

    Args:
        a: (B, C, H, W).
        b: (B, C, H, W).

    Returns:
        A scalar.

    >>> x = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)
    >>> round(feature_distance(x, 2 * x).item(), 4), round(feature_distance(x, -x).item(), 4)
    (0.0, 4.0)
    """
    unit_a, unit_b = (x * torch.rsqrt(x.square().sum(dim=1, keepdim=True) + 1e-8) for x in (a.float(), b.float()))
    return (unit_a - unit_b).square().sum(dim=1).mean()


class DiscriminatorFeatureLoss(ReconstructionLoss):
    """:func:`feature_distance` of the feature maps of a frozen discriminator, averaged over layers.

    Images larger than the discriminator's are resized to it, bilinearly with antialiasing; smaller ones are refused,
    since blurred enlargements look fake to it.

    Args:
        discriminator: a name or file for :func:`padinv.load_discriminator`, or a module with ``resolution`` and
            ``features(images) -> list[Tensor]``, of which a frozen copy is kept.
        layers: which feature maps to compare, 0 the finest, negative from the coarsest; all of them if not given.

    Raises:
        ConfigError: if ``layers`` is empty.
    """

    metric_name: ClassVar[str | None] = "features"

    def __init__(self, discriminator: str | nn.Module = "congress64", layers: list[int] | None = None) -> None:
        super().__init__()
        if layers is not None and not layers:
            raise ConfigError(
                "layers of DiscriminatorFeatureLoss is empty: name at least one, or leave it out for all."
            )
        if isinstance(discriminator, str):
            from padinv.checkpoints import load_discriminator

            network: nn.Module = load_discriminator(discriminator)
        else:
            network = copy.deepcopy(discriminator)  # freezing the caller's own would stop its training
        self.discriminator = Frozen(network)
        self.layers = layers

    def features(self, images: Tensor) -> list[Tensor]:
        """Maps images (B, 3, H, W) in [-1, 1] to the chosen feature maps (B, C, R, R).

        Raises:
            ConfigError: if the images are smaller than the discriminator's, or it has no such layer.
        """
        network: Any = self.discriminator.network
        resolution: int = network.resolution
        if min(images.shape[-2:]) < resolution:
            raise ConfigError(
                f"DiscriminatorFeatureLoss compares images of {resolution} px or more, not {tuple(images.shape[-2:])}: "
                f"give it a discriminator of a lower resolution, or use PerceptualLoss."
            )
        if images.shape[-2:] != (resolution, resolution):
            images = F.interpolate(images, size=(resolution, resolution), mode="bilinear", antialias=True)
        maps: list[Tensor] = network.features(images)
        try:
            return maps if self.layers is None else [maps[layer] for layer in self.layers]
        except IndexError:
            raise ConfigError(
                f"layers of DiscriminatorFeatureLoss is {self.layers}, but this discriminator has 0 to {len(maps) - 1}."
            ) from None

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Compares (B, 3, H, W) with (B, 3, H, W), both in [-1, 1]: a scalar."""
        with torch.no_grad():
            expected = self.features(target)
        distances = [feature_distance(a, b) for a, b in zip(self.features(reconstruction), expected, strict=True)]
        return torch.stack(distances).mean()

    def each(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Measures every image by itself: (B,)."""
        with torch.no_grad():
            expected = self.features(target)
        pairs = zip(self.features(reconstruction), expected, strict=True)
        layers = [torch.stack(list(map(feature_distance, torch.split(a, 1), torch.split(b, 1)))) for a, b in pairs]
        return torch.stack(layers).mean(dim=0)
