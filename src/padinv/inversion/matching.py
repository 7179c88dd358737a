"""Gives a pasted face the sharpness and the grain of the photograph around it.

A generated face often has fewer pixels than its place in the photograph, and then looks like a mask. If it has more, it
can be sharper than a blurred photograph. Missing detail cannot be invented, but the border can be hidden: the
photograph's fine detail fades into the face more slowly than its coarse detail (Burt and Adelson 1983, a
multiresolution spline of two bands), and grain of the photograph's strength covers the rest.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

REACH = 3.0
"""How far the photograph's fine detail reaches into the square, in widths of the fading of coarse detail."""

UNLIKE = 0.15
"""Difference of the coarse images, in [-1, 1], at which the photograph's fine detail no longer fits the face."""

INSIDE = 0.5
"""In the middle of the face, half the difference suffices: detail of eyes that have moved would show twice."""

BLURS = (0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Standard deviations in pixels with which a face is tried that is sharper than its photograph."""

MOST = 2.0
"""A photograph gets a remark if its face has more than this many times the model's resolution."""

EDGES = 0.95
"""The quantile of edges that stands for sharpness: few pixels of a face are edges."""


def noise_level(image: Tensor) -> float:
    """Estimates the standard deviation of an image's noise (Immerkær 1996, as a median, which ignores edges).

    Args:
        image: (C, H, W).

    >>> random = torch.Generator().manual_seed(0)
    >>> round(noise_level(0.1 * torch.randn(1, 200, 200, generator=random)), 2)
    0.1
    """
    if min(image.shape[1:]) < 3:
        return 0.0
    kernel = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]]).to(image) / 6  # of length 1: its squares sum to 6²
    response = F.conv2d(image.mean(dim=0)[None, None], kernel[None, None])
    return response.abs().median().item() / 0.6745  # of a normal distribution


def sharpness(image: Tensor) -> float:
    """Measures how steep the edges of an image (C, H, W) are: a high quantile of second differences, less the noise."""
    if min(image.shape[1:]) < 3:
        return 0.0
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).to(image)
    response = F.conv2d(image.mean(dim=0)[None, None], kernel[None, None]).abs().flatten()
    noise = noise_level(image) * math.sqrt(20)  # the kernel's length
    few = response[:: max(1, len(response) // 1_000_000)]  # torch.quantile refuses more than 16 million
    steep = torch.quantile(few, EDGES).item()
    return math.sqrt(max(steep**2 - (2 * noise) ** 2, 0.0))  # 95 % of a normal distribution are below 2σ


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Blurs an image (C, H, W) by a Gaussian filter; 0 leaves it as it is."""
    if sigma == 0:
        return image
    from kornia.filters import gaussian_blur2d

    size = 2 * math.ceil(3 * sigma) + 1
    if size // 2 >= min(image.shape[1:]):
        return image
    return gaussian_blur2d(image[None], (size, size), (sigma, sigma))[0]


def match(face: Tensor, photograph: Tensor, coarse: Tensor, fine_mask: Tensor, mask: Tensor) -> Tensor:
    """Gives a face the sharpness and the grain of its photograph.

    Args:
        face: the face in its place, (C, h, w).
        photograph: the same part of the photograph.
        coarse: that photograph as the model's resolution shows it.
        fine_mask: how much of the fine detail is the face's, (h, w) in [0, 1].
        mask: how much of the face is laid over the photograph, (h, w) in [0, 1].

    Returns:
        (C, h, w).
    """
    inside = mask > 0
    wanted = sharpness(photograph)
    # The least blur that does: a face that is only a tenth sharper than its photograph stays as it is.
    face = next(
        (b for b in (blurred(face, s) for s in BLURS) if sharpness(b) <= 1.1 * wanted), blurred(face, BLURS[-1])
    )
    detail = photograph - coarse
    radius = max(1.0, min(face.shape[1:]) / 64)
    unlike = blurred((face - coarse).abs().mean(dim=0, keepdim=True), radius)
    tolerated = UNLIKE * (1 - fine_mask * (1 - INSIDE))
    kept = torch.exp(-((unlike / tolerated) ** 2))
    matched = face + kept * detail
    # Grain of the photograph, less what the face has itself, where the photograph's own detail is not.
    variance = noise_level(photograph) ** 2 - noise_level(face) ** 2
    if variance > 0 and inside.any():
        random = torch.Generator().manual_seed(0)  # the same command, the same picture
        grain = torch.randn(1, *face.shape[1:], generator=random).to(face)
        matched = matched + (1 - kept).clamp_min(0).sqrt() * math.sqrt(variance) * grain
    return matched


def resolution_remark(side: float, resolution: int) -> str | None:
    """Warns that a face of ``side`` pixels was enlarged from fewer than half as many; None if it was not.

    >>> resolution_remark(100, 64) is None
    True
    """
    if side <= MOST * resolution:
        return None
    return (
        f"its face measures {side:.0f} px, and the model makes {resolution} px: pasted back, it is less sharp than the "
        "photograph"
    )
