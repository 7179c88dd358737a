"""What an edit is given: codes of one image that go with codes of many, and finite numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from padinv.codes import InversionCode
from padinv.exceptions import ConfigError


def check_finite(**numbers: float | Tensor | None) -> None:
    """Raises ConfigError naming a number, or one of several in a tensor, that is NaN or infinite."""
    for name, value in numbers.items():
        if value is not None and not torch.as_tensor(value).isfinite().all():
            raise ConfigError(f"{name} must be finite, not {value}.")


def broadcast(**codes: InversionCode) -> tuple[InversionCode, ...]:
    """Repeats codes of one image, without copying, as often as the others have images.

    Args:
        codes: by the names they have for the caller; each of 1 or B images.

    Returns:
        The codes, B images each.

    Raises:
        ConfigError: if two have different numbers of images and neither has one, or their latents differ in shape.
    """
    sizes = {name: len(code) for name, code in codes.items()}
    batch_size = next((size for size in sizes.values() if size != 1), 1)
    if not set(sizes.values()) <= {1, batch_size}:
        raise ConfigError(f"Codes go together if each has one image or all have as many, but there are {_list(sizes)}.")
    shapes = {name: tuple(code.w_plus.shape[1:]) for name, code in codes.items()}
    if len(set(shapes.values())) > 1:
        raise ConfigError(f"These codes are not for one generator: their latents are {_list(shapes)}.")
    return tuple(code if len(code) == batch_size else code.expand(batch_size) for code in codes.values())


def _list(facts: dict[str, int] | dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{fact} in {name}" for name, fact in facts.items())
