"""A discriminator that sees images through a network with trained weights (Sauer et al. 2021, *Projected GANs*).

A new discriminator first has to learn what edges, eyes and faces are, from few photographs. One that reads the feature
maps Fₗ of a network trained on ImageNet knows these already, and only weighs them. The generator then learns from far
fewer images. Used beside the plain discriminator D, as vision-aided training does (Kumari et al. 2022):

    min_G max_{D, Dₗ} V(D, G) + w · Σₗ V(Dₗ ∘ Pₗ ∘ F, G)

F is frozen. P are random projections, fixed too: a 1×1 convolution across the channels of each level, then, from the
coarsest level up, a 3×3 convolution of the coarser level's sum, enlarged and added. No level can then be fooled in a
few channels, and fine levels know what coarse ones see. Only the small heads Dₗ learn.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from padinv.exceptions import CheckpointError, ConfigError
from padinv.losses.adversarial import FORMS as LOGISTIC_AND_WASSERSTEIN
from padinv.losses.adversarial import Form
from padinv.losses.base import Frozen
from padinv.networks.lpips import LPIPS, TAPS

FORMS: dict[str, Form] = {
    "hinge": Form(
        generator=lambda fake: -fake.mean(),
        discriminator=lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
    ),
    "logistic": LOGISTIC_AND_WASSERSTEIN["logistic"],
}
COARSEST = 4  # px, where a head stops halving and scores each position


class ImageNetFeatures(nn.Module):
    """The feature maps that LPIPS compares, of a network with ImageNet weights; AlexNet's come with padinv.

    Args:
        net: ``alex``, ``vgg`` or ``squeeze``.
        weights: a file with the weights, in torchvision's format, instead of those.

    Raises:
        ConfigError: if there is no such network.
        WeightsNotFoundError: if the weights are not on this machine and cannot be fetched.
        CheckpointError: if the file does not hold this network.
    """

    def __init__(self, net: str = "alex", weights: str | None = None) -> None:
        super().__init__()
        from padinv.checkpoints.weights import lpips_backbone, read_state_dict

        path = lpips_backbone(net).resolve(weights)
        try:
            self.network = LPIPS(net).load(read_state_dict(path))
        except RuntimeError as error:
            raise CheckpointError(f"{path} does not hold the network {net!r}: {error}") from error

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps images (B, 3, H, W) in [-1, 1] to feature maps (B, C, h, w), the finest first."""
        return self.network.maps(images)


class RandomProjection(nn.Module):
    """Mixes feature maps across channels, then across levels, by convolutions that never learn.

    Its weights are buffers, in the state dict: a resumed run has the same ones with any version of torch.

    Args:
        channels: width of each level, the finest first.
        width: channels of each level afterwards.
        seed: seeds the weights.
    """

    def __init__(self, channels: list[int], width: int, seed: int = 0) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        for level, count in enumerate(channels):
            across = torch.randn(width, count, 1, 1, generator=random) * count**-0.5
            self.register_buffer(f"channels{level}", across)
        for level in range(len(channels) - 1):
            down = torch.randn(width, width, 3, 3, generator=random) * (9 * width) ** -0.5
            self.register_buffer(f"levels{level}", down)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps levels (B, C_l, h_l, w_l), the finest first, to (B, width, h_l, w_l)."""
        mixed: list[Tensor] = []
        for level in reversed(range(len(maps))):
            x = F.conv2d(maps[level], self.get_buffer(f"channels{level}"))
            if mixed:
                coarser = F.conv2d(mixed[0], self.get_buffer(f"levels{level}"), padding=1)
                if coarser.shape[2:] != x.shape[2:]:
                    coarser = F.interpolate(coarser, size=x.shape[2:], mode="bilinear", align_corners=False)
                x = (x + coarser) * 0.5**0.5  # as large as either
            mixed.insert(0, x)
        return mixed


class Head(nn.Sequential):
    """Scores each position of a map: strided 4×4 convolutions to 4 px, then a 3×3 one, all with spectral norm.

    Group normalization replaces the paper's batch normalization. It needs no statistics from other processes, and
    scores real and generated images apart.

    Args:
        width: channels of the map, a multiple of 8.
        size: height and width of the map in pixels.
    """

    def __init__(self, width: int, size: int) -> None:
        layers: list[nn.Module] = []
        while size > COARSEST:
            convolution = nn.Conv2d(width, width, 4, stride=2, padding=1)
            layers += [spectral_norm(convolution), nn.GroupNorm(8, width), nn.LeakyReLU(0.2)]
            size //= 2
        if not layers:
            layers += [spectral_norm(nn.Conv2d(width, width, 3, padding=1)), nn.GroupNorm(8, width), nn.LeakyReLU(0.2)]
        super().__init__(*layers, spectral_norm(nn.Conv2d(width, 1, 3, padding=1)))


class ProjectedDiscriminator(nn.Module):
    """Scores images by small heads on fixed random projections of a frozen network's feature maps.

    Args:
        features: ``alex``, ``vgg``, ``squeeze`` (:class:`ImageNetFeatures`), or a network that maps images (B, 3, H, W)
            in [-1, 1] to feature maps, the finest first. It is frozen and not in the state dict.
        weights: a file with the named network's weights, in torchvision's format, instead of the usual ones.
        resolution: size in pixels to which images are resized first. The network's first filters are often coarse.
        width: channels of the projections and heads, a multiple of 8. Published: 64.
        form: the adversarial game, ``hinge`` as published, or ``logistic``.
        weight: w, the weight in the generator's loss; the plain discriminator has 1.
        seed: seeds the projections.

    Raises:
        ConfigError: if an option is out of range, or the network does not give feature maps.
        WeightsNotFoundError: if the weights are not on this machine and cannot be fetched.
        CheckpointError: if the file does not hold this network's weights.

    >>> pyramid = nn.ModuleList([nn.Conv2d(3, 8, 3, stride=2, padding=1)])
    >>> network = nn.Sequential(*pyramid)
    >>> [tuple(s.shape) for s in ProjectedDiscriminator(network, resolution=16, width=8)(torch.zeros(2, 3, 8, 8))]
    [(2, 16)]
    """

    def __init__(
        self,
        features: nn.Module | str = "alex",
        weights: str | None = None,
        resolution: int = 128,
        width: int = 64,
        form: Literal["hinge", "logistic"] = "hinge",
        weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if isinstance(features, str) and features not in TAPS:
            raise ConfigError(f"features must be {', '.join(TAPS)} or a network, not {features!r}.")
        if form not in FORMS:
            raise ConfigError(f"form must be hinge or logistic, not {form!r}.")
        if width < 8 or width % 8:
            raise ConfigError(f"width must be a multiple of 8, not {width}.")
        if resolution < 31 and isinstance(features, str):
            raise ConfigError(f"resolution must be 31 or more, not {resolution}: smaller images leave no feature map.")
        if not weight > 0:
            raise ConfigError(f"weight must be more than 0, not {weight}; projected: null leaves these heads out.")
        self.resolution, self.weight = resolution, weight
        self.loss = FORMS[form]  # without a penalty: spectral norm bounds the slope
        self.features = Frozen(ImageNetFeatures(features, weights) if isinstance(features, str) else features)
        with torch.no_grad():
            maps = self._maps(torch.zeros(1, 3, resolution, resolution))
        self.projection = RandomProjection([x.shape[1] for x in maps], width, seed)
        self.heads = nn.ModuleList(Head(width, min(x.shape[2:])) for x in maps)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Scores images (B, 3, H, W) in [-1, 1]: (B, N) for each level, of N positions."""
        maps = self.projection(self._maps(images))
        return [head(x).flatten(1).float() for head, x in zip(self.heads, maps, strict=True)]

    def generator_loss(self, fakes: Tensor) -> Tensor:
        """The generator's side for generated images (B, 3, H, W): a scalar, the mean over levels."""
        return torch.stack([self.loss.generator(scores) for scores in self(fakes)]).mean()

    def discriminator_loss(self, reals: Tensor, fakes: Tensor) -> Tensor:
        """The heads' side for real and generated images (B, 3, H, W): a scalar, the mean over levels."""
        losses = [self.loss.discriminator(real, fake) for real, fake in zip(self(reals), self(fakes), strict=True)]
        return torch.stack(losses).mean()

    def _maps(self, images: Tensor) -> list[Tensor]:
        if images.shape[-1] != self.resolution:
            size, shrink = (self.resolution, self.resolution), images.shape[-1] > self.resolution
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=shrink)
        maps = self.features(images)
        maps = [maps] if isinstance(maps, Tensor) else list(maps)
        if not maps or any(not isinstance(x, Tensor) or x.ndim != 4 for x in maps):
            raise ConfigError("features must give feature maps (B, C, h, w), or a list of them.")
        return maps
