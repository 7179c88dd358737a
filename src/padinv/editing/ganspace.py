"""The directions in which W varies most (GANSpace, Härkönen et al. 2020, section 2.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from padinv.checkpoints import fingerprint
from padinv.editing.directions import Direction
from padinv.editing.layers import Layers, parse_layers
from padinv.exceptions import ConfigError
from padinv.networks import Generator


def ganspace(
    generator: Generator, count: int = 20, *, samples: int = 10_000, seed: int = 0, layers: Layers = None
) -> list[Direction]:
    """The principal components of mapped samples, the strongest first.

    The covariance (w_dim, w_dim) is decomposed exactly: the same seed gives the same directions.

    Args:
        generator: whose latents W are sampled.
        count: how many directions, at most w_dim.
        samples: how many latents.
        seed: of the samples.
        layers: which latents the directions move; all if not given.

    Returns:
        Directions "ganspace-0", "ganspace-1", … with the share of the variance that they explain. Strength 1 is one
        standard deviation of W along the component, the unit of GANSpace.

    Raises:
        ConfigError: if there are no so many directions, too few samples, or no such layers.
    """
    w_dim = generator.code_shape.w_dim
    check_count(count, w_dim)
    if samples < 2:
        raise ConfigError(f"samples must be 2 or more, not {samples}.")
    moved = None if layers is None else parse_layers(layers, generator.num_layers)
    variances, components = torch.linalg.eigh(torch.cov(sample_w(generator, samples, seed).double().T))
    shares = variances / variances.sum()
    owner = fingerprint(generator)
    return [
        Direction(
            f"ganspace-{i}",
            (components[:, -1 - i] * variances[-1 - i].sqrt() * sign(components[:, -1 - i])).float(),
            moved,
            kind="ganspace",
            generator=owner,
            metadata={"variance_share": float(shares[-1 - i]), "samples": samples, "seed": seed},
        )
        for i in range(count)
    ]


def sample_w(generator: Generator, samples: int = 10_000, seed: int = 0) -> Tensor:
    """Latents w = mapping(z) of standard normal z, (samples, w_dim), on the CPU; global random state is not touched."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(samples, generator.config["z_dim"], generator=random)
    with torch.inference_mode():
        chunks = [generator.mapping(part.to(generator.w_avg.device)).cpu() for part in torch.split(z, 4096)]
    return torch.cat(chunks)


def sign(vector: Tensor) -> Tensor:
    """Of the entry of largest magnitude: an eigenvector times this has one orientation, not two."""
    return vector[vector.abs().argmax()].sign()


def check_count(count: int, w_dim: int) -> None:
    """Raises ConfigError unless there can be so many orthogonal directions."""
    if not 1 <= count <= w_dim:
        raise ConfigError(f"count must be from 1 to {w_dim}, the width of this generator's latents, not {count}.")
