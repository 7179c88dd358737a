"""Which of the L style latents an edit touches: "0-7,9" as text, numbers, or all."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

from padinv.exceptions import ConfigError

Layers: TypeAlias = str | Iterable[int] | None
"""Numbers of latents from 0 (coarse) to L - 1 (fine): "0-7,9", "4-" for all from 4 up, or integers; None for all."""

_RANGE = re.compile(r"(\d+)(-(\d*))?")


def parse_layers(layers: Layers, num_layers: int) -> tuple[int, ...]:
    """Lists the numbers of the latents, ascending and each once.

    Args:
        layers: text, numbers, or None for all.
        num_layers: how many there are, L.

    Raises:
        ConfigError: if the text is no such range, or a number is not among 0 … L - 1.

    >>> parse_layers("0-2,5,7-", 10)
    (0, 1, 2, 5, 7, 8, 9)
    """
    if layers is None:
        return tuple(range(num_layers))
    numbers = set(_read(layers, num_layers) if isinstance(layers, str) else layers)
    if not numbers or min(numbers) < 0 or max(numbers) >= num_layers:
        raise ConfigError(f"layers must be among 0-{num_layers - 1}, but {layers!r} is not.")
    return tuple(sorted(numbers))


def format_layers(layers: Iterable[int]) -> str:
    """Writes numbers of latents as ranges.

    >>> format_layers((0, 1, 2, 5, 8, 9))
    '0-2,5,8-9'
    """
    ranges: list[list[int]] = []
    for layer in sorted(layers):
        if ranges and ranges[-1][1] == layer - 1:
            ranges[-1][1] = layer
        else:
            ranges.append([layer, layer])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _read(text: str, num_layers: int) -> Iterable[int]:
    for part in text.split(","):
        if not (match := _RANGE.fullmatch(part.strip())):
            raise ConfigError(f"layers {text!r} is no list of ranges such as '0-7,9' or '4-'.")
        first = int(match[1])
        last = first if match[2] is None else int(match[3] or num_layers - 1)
        # An empty range is a slip: its ends are out of range or in the wrong order.
        if last < first or last >= num_layers:
            raise ConfigError(f"layers must be among 0-{num_layers - 1} and ascend, but {text!r} does not.")
        yield from range(first, last + 1)
