"""The directions that change most of what the styles do (SeFa, Shen and Zhou 2021, section 3.2), without any sample.

A layer's style is s = A·w + b, with A as it is used, equalizing gain included. The unit vectors n that stretch most,
‖A·n‖² at its largest, are the eigenvectors of AᵀA with the largest eigenvalues. For several layers AᵀA is the sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from padinv.checkpoints import fingerprint
from padinv.editing.directions import Direction
from padinv.editing.ganspace import check_count, sample_w, sign
from padinv.editing.layers import Layers, parse_layers
from padinv.exceptions import ConfigError
from padinv.networks import Generator
from padinv.networks.generator import StyleConv


def sefa(generator: Generator, layers: Layers = None, count: int = 10) -> list[Direction]:
    """The eigenvectors of AᵀA of the modulated 3×3 convolutions, the largest eigenvalue first.

    Args:
        generator: whose styles are looked at.
        layers: numbers of the latents whose convolutions are taken, and which the directions move: few coarse ones
            change pose and shape, middle ones features, fine ones colour. All if not given.
        count: how many directions, at most w_dim.

    Returns:
        Directions "sefa-0", "sefa-1", … with their eigenvalues, orthogonal to one another. Strength 1 is one standard
        deviation of W along the direction, so that strengths mean the same for all directions.

    Raises:
        ConfigError: if there are no so many directions, no such layers, or no convolution among them (the last latent
            feeds only a toRGB).
    """
    check_count(count, generator.code_shape.w_dim)
    moved = parse_layers(layers, generator.num_layers)
    affines = _style_affines(generator)
    if not any(layer in affines for layer in moved):
        raise ConfigError(
            f"The last latent, number {generator.num_layers - 1}, feeds no convolution: add another layer."
        )
    gram = sum(affines[layer].T @ affines[layer] for layer in moved if layer in affines)
    eigenvalues, eigenvectors = torch.linalg.eigh(torch.as_tensor(gram))
    chosen = eigenvectors.flip(1)[:, :count]
    steps = (sample_w(generator).double() @ chosen).std(dim=0)
    owner = fingerprint(generator)
    return [
        Direction(
            f"sefa-{i}",
            (chosen[:, i] * steps[i] * sign(chosen[:, i])).float(),
            None if layers is None else moved,
            kind="sefa",
            generator=owner,
            metadata={"eigenvalue": float(eigenvalues[-1 - i])},
        )
        for i in range(count)
    ]


def _style_affines(generator: Generator) -> dict[int, Tensor]:
    """A of each convolution (C, w_dim), by the number of the latent that it takes."""
    convs = [module for module in generator.synthesis.modules() if isinstance(module, StyleConv)]
    return {layer: conv.style.weight.detach().cpu().double() * conv.style.gain for layer, conv in enumerate(convs)}
