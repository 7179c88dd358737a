"""The Fréchet distance between generated and real images, in the features of any network (Heusel et al. 2017).

d² = ‖μ - μ'‖² + Tr(Σ + Σ' - 2·(Σ·Σ')^½), with the means and covariances of the features of both sets. With Inception's
features it is the FID of the literature. Two distances compare only if network and number of images are the same: fewer
images give larger distances.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from padinv.batches import check_images
from padinv.exceptions import ConfigError, DataError
from padinv.metrics.features import NETWORKS, FeatureVectors, RandomFeatures

__all__ = ["FrechetDistance", "RandomFeatures"]


class FrechetDistance(FrechetInceptionDistance):
    """The Fréchet distance d² of generated to real images, as torchmetrics has it, in the features of any network.

    Both kinds of images are in [-1, 1]; they are clamped to it and rounded to 8 bits before the network sees them.

    Args:
        features: ``inception`` (needs torch-fidelity, which downloads the weights), ``inception_torchvision``,
            ``alexnet``, ``random``, or a network. A network maps images (B, 3, H, W) in [-1, 1] to vectors (B, N), to
            maps (B, N, h, w), which are averaged to vectors, or to a list of these, which is joined, as from an
            encoder's backbone. It is copied; the copy is not trained and not in the state dict.
        resolution: side of the images, in pixels.
        **kwargs: options of every torchmetrics metric, and ``reset_real_features=False`` to measure real images only
            once.

    Raises:
        ConfigError: if there are no such features.
        MissingPackageError: if a package is missing for them.
        WeightsNotFoundError: if Inception's weights are not in torch's cache and cannot be downloaded.

    >>> import torch
    >>> metric = FrechetDistance(nn.AvgPool2d(2), resolution=2)  # the features are the mean red, green and blue
    >>> black, grey = torch.full((2, 3, 2, 2), -1.0), torch.full((2, 3, 2, 2), -0.6)
    >>> metric.update(black, real=True)
    >>> metric.update(grey, real=False)
    >>> round(metric.compute().item(), 4)  # 3 · 0.4²
    0.48
    """

    def __init__(self, features: nn.Module | str = "inception", resolution: int = 256, **kwargs: Any) -> None:
        if isinstance(features, str):
            if features not in NETWORKS:
                raise ConfigError(f"features must be {', '.join(NETWORKS)} or a network, not {features!r}.")
            network = NETWORKS[features]()
        else:
            network = features
        super().__init__(FeatureVectors(network, resolution), normalize=True, **kwargs)

    def update(self, imgs: Tensor, real: bool) -> None:
        """Adds images (B, 3, H, W) in [-1, 1].

        Raises:
            DataError: if they are something else, such as bytes.
        """
        check_images(imgs, values=real)  # what is generated is in whatever range the generator has learnt
        super().update(imgs, real)

    def compute(self) -> Tensor:
        """The distance.

        Raises:
            DataError: if there are fewer than two images of a kind.
        """
        real, generated = int(self.real_features_num_samples), int(self.fake_features_num_samples)
        if min(real, generated) < 2:
            raise DataError(
                f"The Fréchet distance is one of variances, and needs two images of each kind: {real} real and "
                f"{generated} generated ones are too few; give more images to validate on."
            )
        distance: Tensor = super().compute()
        return distance
