"""Shared by the readers of all formats: types, renaming of keys by a table of patterns, sizes from keys and shapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from padinv.exceptions import CheckpointError
from padinv.networks import Discriminator, Generator, PadInvEncoder
from padinv.ops.resampling import fir_kernel

State = dict[str, Tensor]
Config = dict[str, Any]
Network = tuple[Config, State]
"""A reader's result: the constructor arguments of one of our networks, and its state dict."""
Reader = Callable[[int | None], Network]
"""Reads a network. The argument chooses the class of a conditional one."""
Kind: TypeAlias = type[nn.Module]
"""The class of a network: one of :data:`KINDS`."""
KINDS: tuple[Kind, ...] = (Generator, Discriminator, PadInvEncoder)
Readers = dict[Kind, Reader]
"""The readers of the networks that a file holds."""

MOST_KEYS = 10_000  # more than any known network has
MOST_LAYERS = 100  # of one kind: a longer row of numbers is no network of ours
MOST_MATCHES = 2_000_000  # a second; the largest network, an encoder of 152 layers, needs 200,000

Rules = Sequence[tuple[str, str | None]]
"""Patterns of whole keys, and what their matches become; None drops a key."""
Value = TypeVar("Value")


def rename(state: Mapping[str, Value], rules: Rules, what: str, other: str = "not a key") -> dict[str, Value]:
    """Renames keys by the first rule that matches; ``what`` names the network, and ``other`` any other key.

    Raises:
        CheckpointError: if no rule matches a key, or there are more keys than the largest network has.
    """
    if len(state) * len(rules) > MOST_MATCHES:
        raise CheckpointError(f"{len(state)} tensors are more than {what} has.")
    renamed: dict[str, Value] = {}
    compiled = [(re.compile(pattern).fullmatch, new) for pattern, new in rules]
    for key, tensor in state.items():
        for matching, new in compiled:
            if match := matching(key):
                if new is not None:
                    renamed[match.expand(new)] = tensor
                break
        else:
            raise CheckpointError(f"{brief(key)} is {other} of {what}; is this another architecture?")
    return renamed


def brief(key: str) -> str:
    """Quotes a file's own word for a message, and cuts it if it is long."""
    return repr(key if len(key) <= 100 else f"{key[:100]}…")


def count(state: Mapping[str, Any], pattern: str) -> int:
    r"""Counts the consecutive numbers, from 0, that the pattern's first group takes among the keys.

    Raises:
        CheckpointError: if there are more than any of padinv's networks has.

    >>> count({"fc0.bias": 0, "fc1.bias": 0, "fc3.bias": 0}, r"fc(\d+)")
    2
    """
    numbers = {int(match[1]) for key in state if (match := re.match(pattern, key))}
    if len(numbers) > MOST_LAYERS:
        raise CheckpointError(f"{len(numbers)} layers of a kind are more than any StyleGAN2 or encoder has.")
    return next(i for i in range(len(numbers) + 1) if i not in numbers)


def shape(state: State, key: str, what: str) -> tuple[int, ...]:
    """Returns the shape of a tensor.

    Raises:
        CheckpointError: if it is missing.
    """
    if key not in state:
        raise CheckpointError(f"{key!r} is missing from this {what}'s state dict, which is incomplete.")
    return tuple(state[key].shape)


def tensors(content: Any, prefix: str = "") -> State | None:
    """Picks the tensors under a prefix and takes it off; None if there are none, or more than networks have."""
    if not isinstance(content, dict):
        return None
    found = {
        key.removeprefix(prefix): value
        for key, value in content.items()
        if isinstance(value, Tensor) and isinstance(key, str) and key.startswith(prefix)
    }
    return found if 0 < len(found) <= MOST_KEYS else None


def add_silent_noise(state: State) -> None:
    """Adds noise images of zeros, with strength zero, to those layers of a generator that were built without noise."""
    for key in list(state):
        if match := re.fullmatch(r"(synthesis\.blocks\.(4|8|16|32|64|128|256|512|1024)\.(?:up|conv))\.weight", key):
            image, strength, r = f"{match[1]}.noise", f"{match[1]}.noise_strength", int(match[2])
            if image not in state and strength not in state:
                state |= {image: torch.zeros(1, 1, r, r), strength: torch.zeros(())}


def generator_config(state: State, **options: Any) -> Config:
    """Reads the sizes of a generator from a state dict with our keys, and adds the options that no shape tells.

    Raises:
        CheckpointError: if it is no generator's.
    """
    layers = count(state, r"mapping\.(\d+)\.")
    width, z_dim = shape(state, "mapping.0.weight", "generator")
    channels = _widths(state, r"synthesis\.blocks\.(\d+)\.conv\.weight")
    if not channels:
        raise CheckpointError("It has no convolutions; is this another architecture?")
    return {
        "resolution": max(channels),
        "z_dim": z_dim,
        "w_dim": shape(state, f"mapping.{layers - 1}.weight", "generator")[0],
        "mapping_layers": layers,
        "mapping_width": width,
        "channels": channels,
        **options,
    }


def discriminator_config(state: State, **options: Any) -> Config:
    """Does for a discriminator what :func:`generator_config` does for a generator."""
    skips = _widths(state, r"blocks\.(\d+)\.skip\.weight")
    if not skips:
        raise CheckpointError("It has no skip connections, which the residual architecture has; padinv has no other.")
    channels = {r // 2: width for r, width in skips.items()}
    channels[max(skips)] = shape(state, "from_rgb.weight", "discriminator")[0]
    width, inputs = shape(state, "conv.weight", "discriminator")[:2]
    if inputs != width + 1:
        raise CheckpointError(
            f"Its minibatch statistic has {inputs - width} channels; that of padinv's networks has one."
        )
    return {"resolution": max(skips), "channels": channels, **options}


def _widths(state: State, pattern: str) -> dict[int, int]:
    """Finds the first axis of each weight that matches, by the resolution in the pattern."""
    found = {int(match[1]): tensor.shape for key, tensor in state.items() if (match := re.fullmatch(pattern, key))}
    return {r: shape[0] for r, shape in sorted(found.items())}


def check_filters(state: State, ending: str, gain: float = 1.0) -> None:
    """Raises CheckpointError unless every filter whose key has this ending is [1, 3, 3, 1], with the sum ``gain``."""
    expected = fir_kernel() * gain
    for key, kernel in state.items():
        if key.endswith(ending) and not (
            kernel.shape == (4, 4) and torch.allclose(kernel.float(), expected, rtol=1e-3)
        ):
            raise CheckpointError(f"{key!r} is not StyleGAN2's filter [1, 3, 3, 1]; padinv has no other.")
