"""Reads photographs from whatever holds them, as tensors and names."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from padinv.exceptions import ConfigError, DataError
from padinv.files import local_path
from padinv.images import MAX_PIXELS, ImageWarning, Remark, decode, read_bytes, square, to_image, to_tensor, upright_rgb
from padinv.inversion.alignment import Crop, clamped, warp
from padinv.sources.finding import find_photographs, holds_several, is_pattern, is_url
from padinv.typing import PathLike

Photographs: TypeAlias = PathLike | Image.Image | NDArray[Any] | Tensor | Sequence[Any]
"""A photograph, a batch as one tensor, what holds several, or a list of these: see :func:`read_photographs`."""

Pixels: TypeAlias = Image.Image | Tensor
"""A photograph that was read: 8-bit sRGB, or a tensor (3, H, W) in [-1, 1] if its numbers are others."""

SMALLEST = 8
"""Shortest side of a photograph in pixels; a smaller one shows nothing to invert."""

TOLERANCE = 1e-3
"""How far a tensor may reach beyond [-1, 1]: the rounding of 16-bit floats."""


def read_photographs(images: Photographs, names: Sequence[str] | None = None) -> tuple[list[Tensor], list[str]]:
    """Reads photographs of any size into RGB tensors.

    - A path: an image file (:func:`padinv.images.decode`: upright, 8 bits, sRGB, what is transparent laid on white).
    - A source of several, as for the commands: a folder, which is searched recursively, a zip file, an LMDB directory,
      a pattern such as ``"photos/**/*.jpg"``, or the name of a bundled data set, ``"congress64-val"``.
    - A Pillow image: likewise; its colour profile is ``image.info["icc_profile"]``.
    - A NumPy array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4): uint8 in [0, 255], uint16 in [0, 65535], or
      floating-point numbers in [0, 1]; what is transparent is laid on white.
    - A tensor (3, H, W) or (B, 3, H, W), or with one channel, which is grey: floating-point numbers in [-1, 1]. It
      stays on its device, and gradients reach it.
    - A list of these, of any mixture.

    Args:
        images: the photographs.
        names: one for each. If not given, a file's is its path, also inside a folder or zip file; all others are called
            ``image-0``, ``image-1`` …, by their place among the photographs.

    Returns:
        Tensors (3, H, W) in [-1, 1], float32, and names.

    Raises:
        ConfigError: if there is not one name for each.
        DataError: if there is none, or one cannot be read, is smaller than 8 px on a side, larger than
            :data:`padinv.images.MAX_PIXELS`, or out of range: it is named.

    >>> photographs, names = read_photographs([np.zeros((9, 16), np.uint8), torch.ones(2, 3, 8, 8)])
    >>> [tuple(photograph.shape) for photograph in photographs], names
    ([(3, 9, 16), (3, 8, 8), (3, 8, 8)], ['image-0', 'image-1', 'image-2'])
    """
    called, photographs = open_photographs(images, names)
    return [one if isinstance(one, Tensor) else to_tensor(one) for one in photographs], called


def open_photographs(images: Photographs, names: Sequence[str] | None = None) -> tuple[list[str], Iterator[Pixels]]:
    """Reads photographs one at a time, and in 8 bits where the source is, which takes a quarter of the memory.

    Returns:
        All names, and the photographs, each read when it is asked for.

    Raises:
        ConfigError, DataError: as there; what is wrong with a photograph is raised when it is its turn.
    """
    given = [one for image in (images if isinstance(images, list | tuple) else [images]) for one in _split(image)]
    if not given:
        raise DataError("There are no photographs: the list is empty.")
    if names is not None and len(names) != len(given):
        raise ConfigError(f"There are {len(names)} names for {len(given)} photographs: give one for each.")
    called = names or [own or f"image-{place}" for place, (own, _) in enumerate(given)]
    return list(called), (_read(photograph, name) for name, (_, photograph) in zip(called, given, strict=True))


def _split(image: Any) -> Iterator[tuple[str, Any]]:
    """Lists the photographs of one argument: a name, or "" for none, and the image or a function that reads it."""
    if isinstance(image, Tensor) and image.ndim == 4:
        yield from (("", one) for one in image)
    elif isinstance(image, str | os.PathLike):
        path = os.fspath(image)
        if holds_several(path) or is_pattern(path) or is_url(path):
            source = find_photographs([path])
            yield from ((source.name(place), partial(source.read, place)) for place in range(len(source)))
        else:
            yield path, partial(read_bytes, str(local_path(path, DataError)))
    else:
        yield "", image


def _read(photograph: Any, name: str) -> Pixels:
    """Reads one photograph.

    Raises:
        DataError: if it cannot be read, or is too small; it is named.
    """
    try:
        pixels = _decode(photograph, partial(_warn, name))
        width, height = size_of(pixels)
        if min(height, width) < SMALLEST:
            raise DataError(f"it has {width}×{height} pixels, and the smallest photograph {SMALLEST}×{SMALLEST}")
    except DataError as error:
        raise DataError(f"{name} cannot be read: {error}") from error
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}") from error
    return pixels


def size_of(photograph: Pixels) -> tuple[int, int]:
    """Returns width and height."""
    return photograph.size if isinstance(photograph, Image.Image) else (photograph.shape[2], photograph.shape[1])


def take_square(photograph: Pixels, crop: Crop, resolution: int, align: bool) -> Tensor:
    """Takes a square out of a photograph, (3, R, R) in [-1, 1].

    One in the middle is resized as the training images were: in 8 bits, by :func:`padinv.images.square`.
    """
    if isinstance(photograph, Tensor) and align:
        return warp(photograph, crop, resolution)
    if isinstance(photograph, Tensor) and photograph.shape[1:] == (resolution, resolution):
        return photograph
    image = to_image(photograph) if isinstance(photograph, Tensor) else photograph
    return to_tensor(square(image, resolution))


def _warn(name: str, text: str) -> None:
    warnings.warn(f"{name}: {text}.", ImageWarning, stacklevel=6)


def _decode(photograph: Any, remark: Remark) -> Pixels:
    if isinstance(photograph, partial):
        return decode(photograph(), remark=remark)
    if isinstance(photograph, Image.Image):
        return _from_pillow(photograph, remark)
    if isinstance(photograph, np.ndarray):
        return _from_array(photograph)
    if isinstance(photograph, Tensor):
        return _from_tensor(photograph)
    raise DataError(f"it is a {type(photograph).__name__}; give a path, a Pillow image, an array, a tensor, or a list")


def _from_pillow(image: Image.Image, remark: Remark) -> Image.Image:
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"it has {image.width}x{image.height} pixels, and the limit is {MAX_PIXELS:,}")
    try:
        return upright_rgb(image, remark)
    except DataError:
        raise
    except Exception as error:  # Pillow decodes only now, and decoders raise nearly any error
        raise DataError(str(error) or type(error).__name__) from error


def _from_array(array: NDArray[Any]) -> Pixels:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
        raise DataError(f"it is an array of shape {array.shape}; give (H, W) or (H, W, C) with C = 1, 3 or 4")
    if array.dtype not in (np.uint8, np.uint16) and not np.issubdtype(array.dtype, np.floating):
        raise DataError(f"its values are {array.dtype}; give uint8, uint16, or floating-point numbers in [0, 1]")
    if array.dtype == np.uint8 and array.shape[-1] < 4 and array.size:
        return Image.fromarray(np.ascontiguousarray(array if array.shape[-1] == 3 else array.repeat(3, axis=-1)))
    white = np.iinfo(array.dtype).max if np.issubdtype(array.dtype, np.integer) else 1
    pixels = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1), dtype=np.float32))
    _check_range(pixels, 0, white, "floating-point arrays")
    if len(pixels) == 4:
        pixels = white + (pixels[:3] - white) * (pixels[3:] / white)
    return (pixels / (white / 2) - 1).clamp(-1, 1).expand(3, -1, -1)


def _from_tensor(tensor: Tensor) -> Tensor:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        raise DataError(f"it is a tensor of shape {tuple(tensor.shape)}; give (3, H, W) or (B, 3, H, W)")
    if not tensor.is_floating_point():
        raise DataError(f"it is a tensor of {tensor.dtype}; give floating-point numbers in [-1, 1]: x / 127.5 - 1")
    if tensor.is_meta or tensor.layout != torch.strided:
        raise DataError(f"it is a tensor of {tensor.layout} on {tensor.device}; give a dense one that has numbers")
    _check_range(tensor, -1, 1, "tensors")
    return clamped(tensor.float()).expand(3, -1, -1)


def _check_range(values: Tensor, low: float, high: float, what: str) -> None:
    if not values.numel():
        return
    least, most = (value.item() for value in values.detach().aminmax())
    if not low - TOLERANCE <= least <= most <= high + TOLERANCE:
        raise DataError(
            f"its values reach from {least:.4g} to {most:.4g}; {what} are in [{low}, {high}]: scale or clamp"
        )
