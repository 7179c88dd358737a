"""Images with a mark that augmentation leaves, to see who gets them: their blue is 7 everywhere."""

from __future__ import annotations

import torch
from torch import Tensor


def mark(images: Tensor) -> Tensor:
    """Marks images (B, 3, H, W); gradients go on to them."""
    return torch.cat([images[:, :2], torch.full_like(images[:, 2:], 7.0)], dim=1) + 0 * images


def is_marked(images: Tensor) -> bool:
    return bool((images[:, 2] == 7).all())
