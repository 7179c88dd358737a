"""Checks that images are (B, 3, H, W) in [-1, 1]; the error for anything else says what it is and how to mend it.

Most loaders make something else: torchvision's ToTensor [0, 1], pil_to_tensor bytes, ImageFolder pairs with a label.
Networks would compute with all of these and silently give wrong results.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from padinv.exceptions import ConfigError, DataError

REACH = 8.0
"""The largest magnitude of a value: a generator may overshoot for odd codes, but bytes are larger."""

OVERSHOOT = 0.01
"""How far images without a value below 0 may reach beyond 1 and still look like [0, 1]."""


class ImageRangeWarning(UserWarning):
    """Images that look as if they were in [0, 1]."""


def batch_images(batch: Any, values: bool = True) -> Tensor:
    """Takes the images out of a batch of :class:`padinv.ImageDataModule`, {"image": (B, 3, H, W), "name": [...]}.

    Args:
        batch: what a data loader gives.
        values: whether to check values, too, for which the process waits for the device.

    Raises:
        DataError: if it is no such mapping, or its images fail :func:`check_images`.

    >>> import torch
    >>> batch_images({"image": -torch.ones(2, 3, 8, 8)}).shape
    torch.Size([2, 3, 8, 8])
    >>> batch_images([torch.ones(2, 3, 8, 8), torch.tensor([0, 1])])
    Traceback (most recent call last):
    padinv.exceptions.DataError: A batch must be {"image": (B, 3, H, W)}, not a list of 2: let the dataset return ...
    """
    if not isinstance(batch, Mapping) or "image" not in batch:
        raise DataError(
            f'A batch must be {{"image": (B, 3, H, W)}}, not {_describe(batch)}: let the dataset return '
            '{"image": …} for each image.'
        )
    images: Tensor = batch["image"]
    check_images(images, "A batch", values)
    return images


def check_numbers(value: Any, what: str, like: Tensor) -> None:
    """Checks that a network can compute with a tensor. It does not look at the values.

    Args:
        value: what the network is to compute with.
        what: the value's name in the message.
        like: a tensor of the network.

    Raises:
        ConfigError: if the value is no tensor of floating-point numbers, or its device or, without autocast, its
            precision is not the network's.

    >>> check_numbers(torch.zeros(2, 3).double(), "The latents", torch.zeros(1))
    Traceback (most recent call last):
    padinv.exceptions.ConfigError: The latents are torch.float64, and the network torch.float32: cast one of them ...
    """
    if not isinstance(value, Tensor):
        raise ConfigError(f"{what} must be a tensor, not {_describe(value)}.")
    if not value.is_floating_point():
        raise ConfigError(f"{what} must be floating-point numbers, not {value.dtype}.")
    if value.device != like.device:
        raise ConfigError(f"{what} are on {value.device}, and the network on {like.device}: move one of them by .to().")
    if value.dtype != like.dtype and not torch.is_autocast_enabled(value.device.type):
        raise ConfigError(f"{what} are {value.dtype}, and the network {like.dtype}: cast one of them by .to().")


def check_images(images: Any, what: str = "The images", values: bool = True) -> None:
    """Checks that these are images (B, 3, H, W) of floating-point numbers in [-1, 1], where some may overshoot.

    Warns with :class:`ImageRangeWarning` if no value is below 0, as in [0, 1].

    Args:
        images: the images to check.
        what: their name in the message.
        values: whether to look at the values, too.

    Raises:
        DataError: if they are something else, or not finite.
    """
    if not isinstance(images, Tensor):
        raise DataError(f"{what} must be a tensor (B, 3, H, W), not {_describe(images)}.")
    if images.ndim != 4 or images.shape[1] != 3:
        raise DataError(f"{what} must be of shape (B, 3, H, W), not {tuple(images.shape)}.")
    check_values([images], what, values)


def check_values(tensors: Sequence[Tensor], what: str = "The images", values: bool = True) -> None:
    """Checks the numbers as :func:`check_images` does, of tensors of any shape together; raises DataError, too."""
    for tensor in tensors:
        if not tensor.is_floating_point():
            raise DataError(f"{what} must be floating-point numbers in [-1, 1], not {tensor.dtype}: x / 127.5 - 1.")
        if tensor.is_meta or tensor.layout != torch.strided:
            raise DataError(f"{what} must be dense and have numbers, not be {tensor.layout} on {tensor.device}.")
    if not (values and tensors and all(tensor.numel() for tensor in tensors)):
        return
    limits = [[float(limit) for limit in tensor.detach().aminmax()] for tensor in tensors]
    least, most = min(low for low, _ in limits), max(high for _, high in limits)
    is_scaled = all(-REACH <= low <= high <= REACH for low, high in limits)  # false of NaN, too
    if not is_scaled or (least >= 0 and most > 1 + OVERSHOOT):
        raise DataError(f"{what} must be in [-1, 1], but reach from {least:.4g} to {most:.4g}: scale them.")
    if 0 <= least < most:
        warnings.warn(
            f"{what} have no value below 0, as if they were in [0, 1], which ToTensor makes; padinv takes [-1, 1]: "
            "2 * x - 1.",
            ImageRangeWarning,
            stacklevel=3,
        )


def _describe(value: Any) -> str:
    kind = type(value).__name__
    if hasattr(value, "shape"):
        return f"a {kind} of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a {kind} of {', '.join(map(repr, value))}"
    return f"a {kind} of {len(value)}" if isinstance(value, list | tuple) else f"a {kind}"
