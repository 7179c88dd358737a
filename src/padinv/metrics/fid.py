"""The Fréchet distance between generated and real images, in the features of any network (Heusel et al. 2017).

d² = ‖μ - μ'‖² + Tr(Σ + Σ' - 2·(Σ·Σ')^½), with the means and covariances of the features of both sets. With Inception's
features it is the FID of the literature. Two distances compare only if network and number of images are the same: fewer
images give larger distances.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from padinv.batches import check_images
from padinv.exceptions import ConfigError, MissingPackageError, WeightsNotFoundError
from padinv.images import to_bytes
from padinv.losses.base import Frozen


class RandomFeatures(nn.Module):
    """An untrained network: four stages of two convolutions, each stage half the size and twice the width.

    It needs no file of weights and favours no data set. Its features tell colours and textures apart well, and faces
    less well than a network trained on faces does. The first filters sum to 0, because brightness would drown out
    everything else. The images themselves, times ¼, are features, too, so that mean colours count.

    Args:
        seed: of the weights.
        width: channels of the first stage.

    >>> [tuple(features.shape) for features in RandomFeatures(width=4)(torch.zeros(2, 3, 64, 64))]
    [(2, 3, 64, 64), (2, 4, 32, 32), (2, 8, 16, 16), (2, 16, 8, 8), (2, 32, 4, 4)]
    """

    def __init__(self, seed: int = 0, width: int = 32) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)

        def convolution(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
            # Made on "meta", it takes no random numbers from the global generator, which training uses.
            conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False, device="meta").to_empty(device="cpu")
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu", generator=random)
            if inputs == 3:
                with torch.no_grad():
                    conv.weight -= conv.weight.mean(dim=(2, 3), keepdim=True)
            return conv

        widths = [3, *(width << stage for stage in range(4))]
        self.stages = nn.ModuleList(
            nn.Sequential(convolution(i, o, 1), nn.ReLU(), convolution(o, o, 2), nn.ReLU()) for i, o in pairwise(widths)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """A quarter of images (B, 3, H, W), and the maps after each stage, the finest first."""
        maps = [images / 4]
        x = images
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class Inception(nn.Module):
    """The Inception network of the literature, 2048 features, with torch-fidelity's weights and resizing.

    Raises:
        MissingPackageError: without torch-fidelity.
        WeightsNotFoundError: if its weights are not in torch's cache and cannot be downloaded.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise MissingPackageError("Inception's features need torch-fidelity: pip install torch-fidelity") from error
        try:
            self.network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
        except URLError as error:
            raise WeightsNotFoundError(
                f"Inception's weights could not be downloaded ({error.reason}): put torch-fidelity's "
                f"weights-inception-2015-12-05-6726825d.pth into {torch.hub.get_dir()}/checkpoints, or take other "
                'features, such as "random".'
            ) from error

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 2048) of images (B, 3, H, W) in [-1, 1]."""
        features: Tensor = self.network(to_bytes(images))[0]
        return features


NETWORKS: dict[str, type[nn.Module]] = {"inception": Inception, "random": RandomFeatures}


class _Features(Frozen):
    """Adapts a network to torchmetrics: one vector for each image."""

    def __init__(self, network: nn.Module, resolution: int) -> None:
        super().__init__(copy.deepcopy(network))
        self.num_features = self(torch.zeros(1, 3, resolution, resolution)).shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """Maps (B, 3, H, W) in [-1, 1] to (B, N); maps of features become their means."""
        # Real images come from 8-bit files: generated ones are rounded the same.
        rounded = to_bytes(images).float() / 127.5 - 1
        with torch.autocast(images.device.type, enabled=False):
            maps = self.network(rounded)
        vectors = [x if x.ndim == 2 else x.mean(dim=(2, 3)) for x in ([maps] if isinstance(maps, Tensor) else maps)]
        return torch.cat(vectors, dim=1)


class FrechetDistance(FrechetInceptionDistance):
    """The Fréchet distance d² of generated to real images, as torchmetrics has it, in the features of any network.

    Both kinds of images are in [-1, 1]; they are clamped to it and rounded to 8 bits before the network sees them.

    Args:
        features: ``inception`` (needs torch-fidelity, which downloads the weights), ``random``, or a network. A network
            maps images (B, 3, H, W) in [-1, 1] to vectors (B, N), to maps (B, N, h, w), which are averaged to vectors,
            or to a list of these, which is joined, as from an encoder's backbone. It is copied; the copy is not trained
            and not in the state dict.
        resolution: of the images, in pixels.
        **kwargs: options of every torchmetrics metric, and ``reset_real_features=False`` to measure real images only
            once.

    Raises:
        ConfigError: if there are no such features.
        MissingPackageError: if a package is missing for them.
        WeightsNotFoundError: if Inception's weights are not in torch's cache and cannot be downloaded.

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
        super().__init__(_Features(network, resolution), normalize=True, **kwargs)

    def update(self, imgs: Tensor, real: bool) -> None:
        """Adds images (B, 3, H, W) in [-1, 1].

        Raises:
            DataError: if they are something else, such as bytes.
        """
        check_images(imgs, values=real)  # what is generated is in whatever range the generator has learnt
        super().update(imgs, real)
