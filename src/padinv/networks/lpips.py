"""LPIPS v0.1 (Zhang et al. 2018): the features of an ImageNet network, and the weighted distance between them.

Computed here rather than by the lpips package, which takes seconds to import: ``padinv invert`` measures with it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from padinv.exceptions import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Self

TAPS: dict[str, tuple[int, ...]] = {
    "alex": (1, 4, 7, 9, 11),
    "vgg": (3, 8, 15, 22, 29),
    "squeeze": (1, 4, 7, 9, 10, 11, 12),
}
"""Backbone → the layers of torchvision's ``features`` whose outputs are compared, as in the published code."""


class LPIPS(nn.Module):
    """Σ over layers of the mean over positions of Σ over channels w·(a/‖a‖ - b/‖b‖)², equation 1 of the paper.

    It has no weights until :meth:`load`. It is never trained: it stays in eval mode, without its heads' dropout.

    Args:
        net: the backbone, ``alex``, ``vgg`` or ``squeeze``.

    Raises:
        ConfigError: if there is no such backbone.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: str = "alex") -> None:
        super().__init__()
        if net not in TAPS:
            raise ConfigError(f"net must be one of {', '.join(TAPS)}, not {net!r}.")
        from torchvision import models

        builders = {"alex": models.alexnet, "vgg": models.vgg16, "squeeze": models.squeezenet1_1}
        with torch.device("meta"):  # neither memory nor random numbers are taken for weights that are replaced
            layers = list(builders[net]().get_submodule("features").children())
        last = TAPS[net][-1]
        self.features = nn.Sequential(*layers[: last + 1])
        self.slices = [slice(start, end) for start, end in pairwise([0, *(tap + 1 for tap in TAPS[net])])]
        # ImageNet's mean and deviation, for images in [-1, 1] instead of [0, 1].
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1))
        self.eval()

    def load(self, backbone: Mapping[str, Tensor], heads: Mapping[str, Tensor] | None = None) -> Self:
        """Takes weights, converted to float32.

        Args:
            backbone: torchvision's ``features.<i>.…``; other keys are left alone.
            heads: the lpips package's ``lin<i>.model.1.weight``, (1, C, 1, 1) each; None for a network that
                gives feature maps and does not compare.

        Returns:
            The network itself.

        Raises:
            RuntimeError: if they do not fit.
        """
        state = {key.removeprefix("features."): value for key, value in backbone.items() if key.startswith("features.")}
        self.features.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
        if heads is not None:
            for i in range(len(self.slices)):
                self.register_buffer(f"head{i}", heads[f"lin{i}.model.1.weight"].float())
        return self.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode."""
        return super().train(False)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Maps images (B, 3, H, W) in [-1, 1] to feature maps (B, C, h, w), the finest first."""
        x = (images - self.shift) / self.scale
        maps = []
        for part in self.slices:
            x = self.features[part](x)
            maps.append(x)
        return maps

    def unit_features(self, images: Tensor) -> list[Tensor]:
        """The same with each position of length 1."""
        return [F.normalize(x, dim=1, eps=1e-10) for x in self.maps(images)]  # ε as in the lpips package

    def compare(self, features: list[Tensor], others: list[Tensor]) -> Tensor:
        """The distances (B,) between two lists of feature maps, as :meth:`unit_features` makes them."""
        layers = zip(features, others, strict=True)
        distances = [
            F.conv2d((a - b).square(), self.get_buffer(f"head{i}")).mean(dim=(1, 2, 3))
            for i, (a, b) in enumerate(layers)
        ]
        return torch.stack(distances).sum(dim=0)

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """The distances (B,) between images (B, 3, H, W) and others of the same shape, both in [-1, 1]."""
        return self.compare(self.unit_features(images), self.unit_features(others))
