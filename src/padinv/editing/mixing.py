"""Between two codes, and between a code and the mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

import torch

from padinv.codes import InversionCode
from padinv.editing.broadcasting import broadcast, check_finite
from padinv.editing.layers import Layers, parse_layers
from padinv.exceptions import ConfigError
from padinv.networks import Generator

Easing: TypeAlias = Literal["linear", "smooth"]
"""How fast the frames go: evenly, or starting and ending slowly (3t² - 2t³)."""


def mix(coarse: InversionCode, fine: InversionCode, layers: Layers) -> InversionCode:
    """Style mixing (StyleGAN, Karras et al. 2018, section 3.1): some latents of one code replaced by another's.

    Args:
        coarse: what stays as it is where nothing else is said, its padding included, of 1 or B images.
        fine: gives the latents of ``layers``, of 1 or B images.
        layers: which; "4-" are those from number 4 up, from the second layer of 16 px on.

    Returns:
        The code of B mixed images.

    Raises:
        ConfigError: if the codes do not go together, or there are no such layers.
    """
    coarse, fine = broadcast(coarse=coarse, fine=fine)
    chosen = set(parse_layers(layers, coarse.w_plus.shape[1]))
    sources = [(fine if layer in chosen else coarse).w_plus[:, layer] for layer in range(coarse.w_plus.shape[1])]
    return replace(coarse, w_plus=torch.stack(sources, dim=1))


def interpolate(a: InversionCode, b: InversionCode, frames: int, easing: Easing = "linear") -> Iterator[InversionCode]:
    """The way from one code to another, latents and padding: (1 - t)·a + t·b.

    Args:
        a: where it starts, of 1 or B images.
        b: where it ends, of 1 or B images.
        frames: how many codes, with both ends, 2 or more.
        easing: "linear", or "smooth" for a slow start and end.

    Returns:
        The codes one after another, B images each; the first is ``a``, the last ``b``.

    Raises:
        ConfigError: if the codes do not go together, there are fewer than two frames, or there is no such easing.

    >>> a, b = (InversionCode(torch.full((1, 6, 16), value)) for value in (0.0, 1.0))
    >>> [round(code.w_plus.mean().item(), 4) for code in interpolate(a, b, 5, "smooth")]  # 3/16 - 2/64 = 0.1562
    [0.0, 0.1562, 0.5, 0.8438, 1.0]
    """
    if frames < 2:
        raise ConfigError(f"frames must be 2 or more, both ends included, not {frames}.")
    if easing not in get_args(Easing):
        raise ConfigError(f"easing must be one of {', '.join(get_args(Easing))}, not {easing!r}.")
    a, b = broadcast(a=a, b=b)
    times = (frame / (frames - 1) for frame in range(frames))
    return (a.lerp(b, t if easing == "linear" else t * t * (3 - 2 * t)) for t in times)


def truncate(code: InversionCode, generator: Generator, psi: float = 0.7, layers: int | None = None) -> InversionCode:
    """Pulls latents towards the mean, w_avg + psi · (w - w_avg), and leaves the padding: more typical, less individual.

    Args:
        code: (B, L, w_dim) and padding.
        generator: has the mean latent.
        psi: 1 leaves latents as they are, 0 is the mean.
        layers: how many of the first latents to pull; all if not given.

    Returns:
        The code of B images.

    Raises:
        ConfigError: if the latents are not this generator's, or psi is not finite.
    """
    check_finite(psi=psi)
    shape = (generator.num_layers, generator.code_shape.w_dim)
    if code.w_plus.shape[1:] != shape:
        raise ConfigError(
            f"This generator takes style latents (B, {shape[0]}, {shape[1]}), not {tuple(code.w_plus.shape)}."
        )
    return replace(code, w_plus=generator.truncate(code.w_plus, psi, layers))
