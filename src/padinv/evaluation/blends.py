"""Measures blends: how well they keep the contour's layout outside of the face, and the details' appearance inside."""

from __future__ import annotations

import torch
from torch import Tensor

from padinv.losses import PerceptualLoss

FACE = (0.5, 0.56, 0.27, 0.36)
"""The ellipse of the face in a portrait cropped by FFHQ's recipe: its middle, across and down, and its half axes, as
shares of the side."""


def face_mask(height: int, width: int) -> Tensor:
    """1 inside of the face and 0 outside, (1, 1, H, W).

    >>> face_mask(8, 8)[0, 0, 4, 4].item(), face_mask(8, 8)[0, 0, 0, 0].item()
    (1.0, 0.0)
    """
    x, y, across, down = FACE
    rows = ((torch.arange(height) + 0.5) / height - y) / down
    columns = ((torch.arange(width) + 0.5) / width - x) / across
    inside = rows.square()[:, None] + columns.square()[None] <= 1
    return inside.float()[None, None]


@torch.inference_mode()
def blend_distances(blended: Tensor, contour: Tensor, details: Tensor) -> dict[str, Tensor]:
    """How well blends keep what each side gives, by AlexNet's features of length 1 at each position.

    Args:
        blended: (B, 3, H, W) in [-1, 1].
        contour: gave the layout.
        details: gave the appearance.

    Returns:
        ``layout``: mean over positions outside of the face of the squared distance to the contour's features, which
        compares place with place; ``appearance``: squared distance of the features' means inside of the face, which
        forgets places. (B,) each, sums over layers, 0 is best.
    """
    network = PerceptualLoss("alex").to(blended.device).lpips.network
    maps = [network.unit_features(images) for images in (blended, contour, details)]  # type: ignore[operator]
    layout, appearance = [], []
    for ours, outside, inside in zip(*maps, strict=True):
        face = face_mask(*ours.shape[2:]).to(ours)
        around = 1 - face
        distance = (ours - outside).square().sum(dim=1, keepdim=True)
        layout.append((distance * around).sum(dim=(1, 2, 3)) / around.sum())
        means = [(each * face).sum(dim=(2, 3)) / face.sum().clamp_min(1) for each in (ours, inside)]
        appearance.append((means[0] - means[1]).square().sum(dim=1))
    return {"layout": torch.stack(layout).sum(dim=0), "appearance": torch.stack(appearance).sum(dim=0)}
