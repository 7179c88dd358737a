"""The arguments of networks: StyleGAN2's channels, the checks that networks share, and what is kept for ``config``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any

from padinv.exceptions import ConfigError


def stylegan2_channels(resolution: int, base: int = 32768, maximum: int = 512) -> dict[int, int]:
    """Channels at each resolution from 4 px up, min(base / resolution, maximum), as StyleGAN2 chooses them.

    >>> stylegan2_channels(256)
    {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128}
    """
    return {2**k: min(base // 2**k, maximum) for k in range(2, resolution.bit_length())}


def check_resolution(resolution: int, minimum: int, maximum: int = 1024) -> None:
    """Raises ConfigError unless the resolution is a power of two in the range."""
    whole = isinstance(resolution, Integral)
    if not whole or not minimum <= resolution <= maximum or resolution & (resolution - 1):
        raise ConfigError(f"resolution must be a power of two from {minimum} to {maximum}, not {resolution}.")


def check_channels(resolution: int, channels: dict[int, int] | None) -> dict[int, int]:
    """The channels of a GAN of 8 to 1024 px, StyleGAN2's own if not given; raises ConfigError if they do not fit it."""
    check_resolution(resolution, minimum=8)
    channels = dict(channels or stylegan2_channels(resolution))
    if sorted(channels) != list(stylegan2_channels(resolution)):
        raise ConfigError(
            f"channels must name every resolution from 4 to {resolution} px once, not {sorted(channels)}."
        )
    check_widths(**{f"channels at {r} px": width for r, width in channels.items()})
    return channels


def check_widths(**widths: int | None) -> None:
    """Raises ConfigError unless all widths are whole numbers from 1 on; None is one that is not given."""
    for name, width in widths.items():
        if width is not None and (not isinstance(width, Integral) or width < 1):
            raise ConfigError(f"{name} must be 1 or more, not {width!r}.")


def check_clamp(conv_clamp: float | None) -> float | None:
    """Returns a bound on activations; raises ConfigError unless it is None or a positive number."""
    number = type(conv_clamp) in (int, float)
    if conv_clamp is not None and not (number and 0 < conv_clamp < math.inf):
        raise ConfigError(f"conv_clamp must be a positive number, or None for no bound, not {conv_clamp!r}.")
    return conv_clamp and float(conv_clamp)


def given_arguments(network: type, values: Mapping[str, Any], *without: str) -> dict[str, Any]:
    """The arguments that a network is made of, for its ``config``.

    Args:
        network: the class.
        values: the local variables at the end of its ``__init__``, which has filled in what was not given.
        without: arguments that are weights, or names of earlier versions.
    """
    return {name: values[name] for name in inspect.signature(network).parameters if name not in without}
