"""StyleGAN2's two regularizations of the generator: style mixing, and the length of paths (Karras et al. 2019)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mix_styles(w_plus: Tensor, other: Tensor, probability: float) -> Tensor:
    """Gives some samples the latents of another sample, from a layer on that is drawn for each.

    Layers then do not come to rely on each other (Karras et al. 2018, *A style-based generator*, section 3.1).

    Args:
        w_plus: style latents (B, L, w_dim).
        other: the same of other samples.
        probability: of being mixed.

    Returns:
        (B, L, w_dim), of which the first layer is always that of ``w_plus``.

    >>> mix_styles(torch.zeros(1, 2, 1), torch.ones(1, 2, 1), 1.0).flatten().tolist()
    [0.0, 1.0]
    """
    count, layers = w_plus.shape[:2]
    crossover = torch.randint(1, layers, (count, 1, 1), device=w_plus.device)
    mixed = torch.rand(count, 1, 1, device=w_plus.device) < probability
    layer = torch.arange(layers, device=w_plus.device)[:, None]
    return torch.where(mixed & (layer >= crossover), other, w_plus)


def path_lengths(images: Tensor, w_plus: Tensor) -> Tensor:
    """How far images move with their latents, ‖Jᵀy‖ with J = ∂image/∂w and y random (Karras et al. 2019, section 3.2).

    y is normal noise over √(H·W), and the square is averaged over layers, as in the published code.

    Args:
        images: (B, 3, H, W), computed from ``w_plus``.
        w_plus: style latents (B, L, w_dim) that require a gradient.

    Returns:
        (B,), differentiable in the generator's parameters.
    """
    noise = torch.randn_like(images) / math.sqrt(images[0, 0].numel())
    (gradients,) = torch.autograd.grad((images * noise).sum(), w_plus, create_graph=True)
    return gradients.float().square().sum(dim=2).mean(dim=1).sqrt()
