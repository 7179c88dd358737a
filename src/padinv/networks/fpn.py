"""The feature pyramid that gives fine levels the context of coarse ones (Lin et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class FeaturePyramid(nn.Module):
    """Adds to each level the level above, upsampled.

    Args:
        in_channels: widths of the levels, the top (coarsest) first.
        channels: width of all levels of the pyramid; a top of this width is taken as it is.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        top, *rest = in_channels
        self.lateral = nn.ModuleList([nn.Identity() if top == channels else nn.Conv2d(top, channels, 1)])
        self.lateral.extend(nn.Conv2d(width, channels, 1) for width in rest)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Maps levels (B, C_i, H_i, W_i), the top first, to levels (B, channels, H_i, W_i)."""
        pyramid: list[Tensor] = []
        for lateral, level in zip(self.lateral, levels, strict=True):
            x = lateral(level)
            if pyramid:
                x = x + F.interpolate(pyramid[-1], size=x.shape[-2:], mode="bilinear", align_corners=True)
            pyramid.append(x)
        return pyramid
