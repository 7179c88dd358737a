"""Finds directions without labels: those that change styles most (SeFa), or along which W varies most (GANSpace).

SeFa (Shen and Zhou 2021, section 3.2) looks at the weights alone. A layer's style is s = A·w + b, with A as it is used,
equalizing gain included. The unit vectors n with the largest ‖A·n‖² are the eigenvectors of AᵀA with the largest
eigenvalues. Several layers add their AᵀA. GANSpace (Härkönen et al. 2020, section 2.1) takes the principal components
of samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from padinv.checkpoints import fingerprint
from padinv.editing.directions import Direction, Kind
from padinv.editing.layers import Layers, parse_layers
from padinv.exceptions import ConfigError
from padinv.networks import Generator
from padinv.networks.synthesis import StyleConv


def sefa(generator: Generator, layers: Layers = None, count: int = 10) -> list[Direction]:
    """Finds the eigenvectors of AᵀA of the modulated 3×3 convolutions, the largest eigenvalue first.

    Args:
        generator: the generator whose styles are looked at.
        layers: numbers of the latents whose convolutions are taken, and which the directions move: few coarse ones
            change pose and shape, middle ones features, fine ones colour. All if not given.
        count: how many directions, at most w_dim.

    Returns:
        Directions "sefa-0", "sefa-1", … with their eigenvalues, orthogonal to one another. Strength 1 is one standard
        deviation of W along the direction, so that strengths mean the same for all directions.

    Raises:
        ConfigError: if there are not so many directions, no such layers, or no convolution among them (the last latent
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
    facts = [{"eigenvalue": float(value)} for value in eigenvalues.flip(0)[:count]]
    return _directions("sefa", chosen * steps, facts, generator, None if layers is None else moved)


def _style_affines(generator: Generator) -> dict[int, Tensor]:
    """Collects A of each convolution (C, w_dim), by the number of the latent that it takes."""
    convs = [module for module in generator.synthesis.modules() if isinstance(module, StyleConv)]
    return {layer: conv.style.weight.detach().cpu().double() * conv.style.gain for layer, conv in enumerate(convs)}


def ganspace(
    generator: Generator, count: int = 20, *, samples: int = 10_000, seed: int = 0, layers: Layers = None
) -> list[Direction]:
    """Finds the principal components of mapped samples, the strongest first.

    The covariance (w_dim, w_dim) is decomposed exactly: the same seed gives the same directions.

    Args:
        generator: the generator whose latents W are sampled.
        count: how many directions, at most w_dim.
        samples: how many latents.
        seed: the seed of the samples.
        layers: which latents the directions move; all if not given.

    Returns:
        Directions "ganspace-0", "ganspace-1", … with the share of the variance that they explain. Strength 1 is one
        standard deviation of W along the component, the unit of GANSpace.

    Raises:
        ConfigError: if there are not so many directions, too few samples, or no such layers.
    """
    w_dim = generator.code_shape.w_dim
    check_count(count, w_dim)
    if samples < 2:
        raise ConfigError(f"samples must be 2 or more, not {samples}.")
    moved = None if layers is None else parse_layers(layers, generator.num_layers)
    variances, components = torch.linalg.eigh(torch.cov(sample_w(generator, samples, seed).double().T))
    shares = variances / variances.sum()
    steps = components.flip(1)[:, :count] * variances.flip(0)[:count].sqrt()
    facts = [{"variance_share": float(share), "samples": samples, "seed": seed} for share in shares.flip(0)[:count]]
    return _directions("ganspace", steps, facts, generator, moved)


def _directions(
    kind: Kind,
    vectors: Tensor,
    facts: Sequence[Mapping[str, float]],
    generator: Generator,
    layers: Sequence[int] | None,
) -> list[Direction]:
    """Makes a direction of each column of (w_dim, N). An eigenvector has two orientations: its largest entry is > 0."""
    owner = fingerprint(generator)
    oriented = [(vector * vector[vector.abs().argmax()].sign()).float() for vector in vectors.T]
    moved = None if layers is None else tuple(layers)
    return [
        Direction(f"{kind}-{i}", vector, moved, kind=kind, fingerprint=owner, metadata=own)
        for i, (vector, own) in enumerate(zip(oriented, facts, strict=True))
    ]


def sample_w(generator: Generator, samples: int = 10_000, seed: int = 0) -> Tensor:
    """Samples latents w = mapping(z), (samples, w_dim), on the CPU; the global random state stays as it is."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(samples, generator.config["z_dim"], generator=random)
    with torch.inference_mode():
        # In parts, which bound the memory that the mapping network takes.
        chunks = [generator.mapping(part.to(generator.w_avg.device)).cpu() for part in torch.split(z, 4096)]
    return torch.cat(chunks)


def check_count(count: int, w_dim: int) -> None:
    """Raises ConfigError unless there can be so many orthogonal directions."""
    if not 1 <= count <= w_dim:
        raise ConfigError(f"count must be from 1 to {w_dim}, the width of this generator's latents, not {count}.")
