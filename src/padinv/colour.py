"""Colour profiles: from a picture's own to sRGB, which the networks see, and back.

Telephones write Display P3, cameras AdobeRGB, and printers CMYK. An ICC profile says so, or PNG's own numbers (gAMA and
cHRM), or a camera's mark in EXIF. A picture without any of these is in sRGB.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from padinv.exceptions import DataError

MAX_PROFILE_BYTES = 1 << 24
"""The largest profile that is used (16 MiB); profiles of printing machines have one or two."""

SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
"""White, red, green and blue as (x, y), in the order of PNG's cHRM."""

ADOBE_RGB = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
"""White, red, green and blue of AdobeRGB (1998), whose exponent is 563 / 256."""

SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
"""The colour space of a profile → the mode of Pillow images that it is for."""


def profile_of(image: Image.Image) -> bytes | None:
    """The ICC profile of an opened picture: embedded, or made from its other marks; None for sRGB.

    Args:
        image: an image that Pillow has opened.

    Raises:
        DataError: if the profile is cut off or damaged. The message gives the reason only.
    """
    if "icc_profile" in image.info:
        profile = image.info["icc_profile"]
        if not profile:  # what Pillow leaves of a profile that it could not join or unpack
            raise DataError("it is cut off or damaged")
        if not isinstance(profile, bytes) or len(profile) > MAX_PROFILE_BYTES:
            raise DataError(f"it is no profile, or larger than {MAX_PROFILE_BYTES >> 20} MiB")
        mode_of(profile)
        return profile
    if "srgb" in image.info:
        return None
    primaries, exponent = image.info.get("chromaticity"), image.info.get("gamma")
    if image.format == "PNG" and (primaries or exponent):
        return _of_png(tuple(primaries or SRGB), 1 / exponent if exponent else 2.2)
    return matrix_profile(ADOBE_RGB, 563 / 256) if _is_adobe_rgb(image) else None


def _of_png(primaries: tuple[float, ...], exponent: float) -> bytes | None:
    """The profile that gAMA and cHRM describe; None if they mean sRGB, or nothing."""
    # Software writes all kinds of numbers; beyond these a picture would be black or white.
    plausible = len(primaries) == 8 and all(0 <= value <= 1 for value in primaries) and 0.2 < exponent < 5
    is_srgb = plausible and np.allclose(primaries, SRGB, atol=0.005) and abs(exponent - 2.2) < 0.1
    try:
        return None if is_srgb or not plausible else matrix_profile(primaries, exponent)
    except (np.linalg.LinAlgError, ZeroDivisionError, struct.error) as error:
        raise DataError("its primaries are no colours") from error


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Whether EXIF marks it as AdobeRGB, as cameras do that embed no profile (DCF 2.0, "R03")."""
    try:
        return image.getexif().get_ifd(ExifTags.IFD.Interop).get(1) == "R03"
    except Exception:  # damaged EXIF raises nearly any error
        return False


def rgb_of_grey(profile: bytes) -> bytes | None:
    """Makes an RGB profile of a grey one, so that a face can be pasted; None if the grey profile has no simple curve.

    Args:
        profile: the profile of a grey image (:func:`mode_of` is "L").
    """
    count = min(int.from_bytes(profile[128:132], "big"), (len(profile) - 132) // 12)
    tags = struct.iter_unpack(">4s2I", profile[132 : 132 + 12 * count])
    curve = next((profile[start : start + size] for name, start, size in tags if name == b"kTRC"), b"")
    return matrix_profile(SRGB, curve) if curve[:4] in (b"curv", b"para") else None


def matrix_profile(primaries: Sequence[float], curve: float | bytes) -> bytes:
    """A minimal ICC profile (version 2) of an RGB space.

    Args:
        primaries: white, red, green and blue as (x, y), eight numbers.
        curve: how numbers in [0, 1] become light: an exponent, or the content of an ICC tag.

    Raises:
        numpy.linalg.LinAlgError: if three of the primaries lie on a line.
        ZeroDivisionError: if a primary has y = 0.
    """
    white, *colours = (
        np.array([x / y, 1, (1 - x - y) / y]) for x, y in zip(primaries[::2], primaries[1::2], strict=True)
    )
    matrix = np.stack(colours, axis=1)
    matrix = matrix * np.linalg.solve(matrix, white)
    # ICC profiles are relative to D50: adapted by Bradford's matrix.
    cones = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d50 = np.array([0.9642, 1.0, 0.8249])
    adaptation = np.linalg.solve(cones, np.diag((cones @ d50) / (cones @ white)) @ cones)

    def fixed(values: NDArray[Any]) -> list[int]:  # s15Fixed16Number, as ICC calls it
        return [round(float(value) * 65536) for value in values]

    def xyz(values: NDArray[Any]) -> bytes:
        return struct.pack(">4s4x3i", b"XYZ ", *fixed(values))

    if not isinstance(curve, bytes):
        curve = struct.pack(">4s4xIH", b"curv", 1, round(curve * 256))
    text = b"padinv\0"
    tags = {
        b"desc": struct.pack(">4s4xI", b"desc", len(text)) + text + bytes(78),
        b"cprt": b"text" + bytes(4) + text,
        b"wtpt": xyz(d50),
        **dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(xyz, (adaptation @ matrix).T), strict=True)),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    kind = b"mntr", b"RGB ", b"XYZ ", b"acsp"  # a display's, between these two spaces, and the mark of all profiles
    version = 0x02400000  # 2.4
    header = struct.pack(">I4xI4s4s4s12x4s28x3i48x", start + len(body), version, *kind, *fixed(d50))
    return header + table + body


@lru_cache(maxsize=32)
def mode_of(profile: bytes) -> str:
    """The mode of Pillow's images that a profile is for.

    Raises:
        DataError: if the profile is damaged, or for another colour space. The message gives the reason only.
    """
    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"it is damaged ({error})") from error
    if space not in SPACES:
        raise DataError(f"it is for colours in {space}")
    return SPACES[space]


@lru_cache(maxsize=32)
def _transform(source: bytes | None, target: bytes | None, mode: str) -> ImageCms.ImageCmsTransform:
    """Makes a transform from one profile, in a mode, to another's RGB; None is sRGB, or CIELAB for that mode."""
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC  # colours in both spaces stay exact; others are clipped
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    if mode == "L":
        flags |= ImageCms.Flags.NOOPTIMIZE  # the shortcut for a single curve is off by more than a level
    try:
        opened = _open(source, "LAB" if mode == "LAB" else "sRGB")
        return ImageCms.buildTransform(opened, _open(target, "sRGB"), mode, "RGB", intent, flags)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise DataError(f"it is damaged ({error})") from error


def _open(profile: bytes | None, default: Literal["LAB", "sRGB"]) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(default) if profile is None else io.BytesIO(profile))


@lru_cache(maxsize=32)
def is_srgb(profile: bytes) -> bool:
    """Whether an RGB profile agrees with sRGB within one level of 255, so that pixels can stay as they are."""
    steps = np.array([0, 2, 5, 10, 18, 28, 40, 56, 76, 98, 122, 148, 175, 202, 229, 255], np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(64, 64, 3)
    seen = np.asarray(convert(Image.fromarray(colours), profile, None))
    return bool(np.abs(seen.astype(int) - colours).max() <= 1)


def convert(image: Image.Image, source: bytes | None, target: bytes | None) -> Image.Image:
    """Converts an image to another profile, as RGB.

    Args:
        image: an image in the mode of its profile (:func:`mode_of`).
        source: the image's profile; None for sRGB, or for CIELAB if that is its mode.
        target: an RGB profile; None for sRGB.

    Returns:
        A new image without a profile in its info.

    Raises:
        DataError: if a profile is damaged, or cannot convert in this direction. The message gives the reason only.
    """
    transform = _transform(source, target, image.mode)
    try:
        converted = transform.apply(image)
    except (ValueError, OSError) as error:
        raise DataError(f"it is damaged ({error})") from error
    converted.info.clear()
    return converted
