"""From encoded bytes to a tensor: decode to RGB, crop to a centred square, resize, scale to [-1, 1].

Training, :class:`padinv.Inverter` and the commands decode here, so a network sees the same picture of a file
everywhere.
"""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from padinv.colour import convert, is_srgb, mode_of, profile_of, rgb_of_grey
from padinv.exceptions import DataError
from padinv.image_files import JPEG, PNG, is_deep, kind_of, profile_of_png, scans_of, without_metadata

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
    "DIB": (),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "AVIF": (".avif", ".avifs"),
}
"""Pillow's formats that are read, and how the names of such files end. Content decides, not the name. Pillow knows
further formats, and would start Ghostscript for PostScript."""

MAX_PIXELS = 89_478_485
"""The largest image that is decoded, in pixels: Pillow's own limit against decompression bombs."""

MAX_BYTES = 1 << 28
"""The largest encoded image that is read (256 MiB): a larger one is a mistake or an attack."""

MAX_SCANS = 100
"""How often a JPEG may go over its pixels. Ten times is usual; thousands fit into a small file and take minutes."""

MAX_PIXELS_OF_SCANS = 16 * MAX_PIXELS
"""Pixels times scans: a large JPEG may go over its pixels less often."""

Remark: TypeAlias = Callable[[str], object]
"""Called with a remark on an image that is used nevertheless; the remark has no full stop."""


class ImageWarning(UserWarning):
    """A remark on an image that is used nevertheless."""


def _warn(text: str) -> None:
    warnings.warn(f"An image: {text}.", ImageWarning, stacklevel=4)


def read_bytes(path: str) -> bytes:
    """Reads the bytes of an image file.

    Raises:
        DataError: if the file is larger than ``MAX_BYTES``, or is a pipe, a socket or a device.
        OSError: if the file cannot be read.
    """
    if not stat.S_ISREG(Path(path).stat().st_mode) and not Path(path).is_dir():  # open() itself raises for a folder
        raise DataError("it is a pipe, a socket or a device, not a file")
    # Never wait for a writer, even if a pipe takes the file's place just now.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        return limited(file.read(MAX_BYTES + 1))


def limited(data: bytes) -> bytes:
    """Returns the bytes, unless they are too many; a reader takes one byte more than the limit to tell.

    Raises:
        DataError: if they are more than ``MAX_BYTES``.
    """
    if len(data) > MAX_BYTES:
        raise DataError(f"it is larger than {MAX_BYTES >> 20} MiB")
    return data


def decode(data: bytes, resolution: int | None = None, remark: Remark = _warn) -> Image.Image:
    """Decodes an image file, upright and as 8-bit sRGB.

    It applies EXIF rotation, and the colour profile, or what PNG or EXIF say instead of one. Grey becomes three
    equal channels. 16-bit grey is scaled (65535 is 255), not cut. Transparent areas are laid on white. The first frame
    of an animation is taken. Damaged metadata are ignored, and the pixels used.

    Args:
        data: the file's bytes.
        resolution: the side the image will be resized to. A JPEG at least four times as large is then decoded at
            1/2, 1/4 or 1/8 of its size, and still at least twice as large as wanted.
        remark: called if a colour profile cannot be used; by default it warns with an ``ImageWarning``.

    Raises:
        DataError: if the file is empty, truncated, too large, none of ``FORMATS``, or has floating-point pixels. The
            message gives the reason only.
    """
    return seen(decode_original(data, resolution, remark))


def decode_original(data: bytes, resolution: int | None = None, remark: Remark = _warn) -> Image.Image:
    """Decodes an image file as :func:`decode` does, but with the colours and transparency of :func:`original`.

    Raises:
        DataError: as :func:`decode`.
    """
    if not data:
        raise DataError("the file is empty")
    remarks: list[str] = []
    with warnings.catch_warnings():
        # Pillow warns of odd metadata, in files that are fine for us; its warning of a bomb is an error.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = original(_load(data, resolution), remarks.append)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise DataError(_too_large("it")) from error
        except UnidentifiedImageError as error:
            raise DataError(f"it is {kind_of(data, _formats())}") from error
        except DataError:
            raise
        except Exception as error:  # decoders raise nearly anything on damaged bytes, SyntaxError and struct.error too
            raise DataError(f"it is damaged, or ends early ({_brief(error)}); copy or download it again") from error
    for text in remarks:
        remark(text)
    return image


def _brief(error: Exception) -> str:
    """What a decoder says of damaged bytes, without its counts of bytes."""
    return re.sub(r" \(\d+ bytes not processed\)", "", str(error)).rstrip(".") or type(error).__name__


def _load(data: bytes, resolution: int | None) -> Image.Image:
    """Opens and decodes; if that fails, tries again without the metadata, which may be what is damaged."""
    try:
        return _load_as_it_is(data, resolution)
    except (DataError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise
    except Exception:
        image, plain = None, without_metadata(data)
        if plain is not None:
            with suppress(Exception):
                image = _load_as_it_is(plain, resolution)
        if image is None:
            raise
        if data.startswith(PNG) and (profile := profile_of_png(data)) is not None:
            image.info["icc_profile"] = profile
        return image


def _load_as_it_is(data: bytes, resolution: int | None) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(data), formats=_formats())
    if image.width * image.height > MAX_PIXELS:  # Pillow's limit may have been lifted by another library
        raise DataError(_too_large(f"it has {image.width}x{image.height} pixels and"))
    if data.startswith(JPEG):
        _check_scans(data, image.width * image.height)
    if resolution is not None:
        image.draft(None, (2 * resolution, 2 * resolution))  # only JPEG can; twice the size keeps resizing sharp
    image.load()
    deep = is_deep(data) and "transparency" not in image.info
    return _rounded(data, image) if deep else image  # of grey without alpha Pillow gives all bits


def _check_scans(data: bytes, pixels: int) -> None:
    most = min(MAX_SCANS, MAX_PIXELS_OF_SCANS // max(1, pixels))
    # Counting all of these bytes is fast; those of thumbnails in the metadata are told apart only if they matter.
    if data.count(b"\xff\xda") > most and len(list(islice(scans_of(data), most + 1))) > most:
        raise DataError(f"it goes over its pixels more than {most} times, which no program writes: save it anew")


def _rounded(data: bytes, image: Image.Image) -> Image.Image:
    """A PNG of 16 bits in 8, rounded: Pillow cuts off the lower half of colours, which makes them darker."""
    from torchvision.io import ImageReadMode, decode_png

    try:
        pixels = decode_png(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.UNCHANGED).numpy()
    except RuntimeError:  # it knows less of damaged files
        return image
    mode = {2: "LA", 3: "RGB", 4: "RGBA"}.get(len(pixels))
    if mode is None or pixels.dtype != np.uint16 or pixels.shape[1:] != (image.height, image.width):
        return image
    rounded = Image.merge(mode, [Image.fromarray((band / 257).round().astype(np.uint8)) for band in pixels])
    rounded.info, rounded.format = image.info, image.format
    return rounded


def is_image_file(path: Path) -> bool:
    """Whether a file's first bytes are those of a readable image, whatever its name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=_formats()):
                return True
        except Image.DecompressionBombError:
            return True
        except Exception:  # see decode_original
            return False


def smaller_side(data: bytes) -> int:
    """The smaller side of an image file in pixels, by its head alone.

    Raises:
        DataError: if it cannot be read; the reason only.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=_formats()) as image:
                return int(min(image.size))
        except Image.DecompressionBombError as error:
            raise DataError(_too_large("it")) from error
        except Exception as error:  # see decode_original
            raise DataError(f"it is {kind_of(data, _formats())}" if data else "the file is empty") from error


@lru_cache
def _formats() -> list[str]:
    """The formats that this version of Pillow has: older ones lack AVIF."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _too_large(what: str) -> str:
    return f"{what} is larger than the limit of {MAX_PIXELS:,} pixels"


def original(image: Image.Image, remark: Remark = _warn) -> Image.Image:
    """Turns an opened image upright, and keeps its colours and transparency. The image itself stays as it is.

    Args:
        image: an image that Pillow has opened.
        remark: as for :func:`decode`.

    Returns:
        8-bit RGB, or RGBA if the image has transparency. ``info`` holds only "icc_profile", and that only if the
        colours are not sRGB. A grey profile becomes one for three equal channels; CMYK becomes sRGB.

    Raises:
        DataError: if its pixels are floating-point numbers, or of 32 bits.
    """
    image.load()
    if image.mode == "F":
        raise DataError("its pixels are floating-point numbers, whose range is not defined")
    if image.mode == "I" and image.format == "TIFF":  # PNG's and PNM's are of 16 bits
        raise DataError("its pixels are numbers of 32 bits, whose range is not defined; save it with 8 or 16 bits")
    profile = None
    try:
        profile = profile_of(image)
    except DataError as error:
        remark(f"its colour profile cannot be used ({error}), and its colours are taken for sRGB")
    image = _upright(image)
    alpha = None
    if image.mode.startswith("I"):
        values = np.asarray(image).clip(0, 65535) / 257  # 65535 / 255
        image = Image.fromarray(values.round().astype(np.uint8))
    elif image.has_transparency_data:
        grey, image = image.mode == "LA", image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.getchannel("R") if grey else image.convert("RGB")
    image, profile = _known(image, profile, remark)
    if alpha is not None:
        image.putalpha(alpha)
    image.info = {} if profile is None else {"icc_profile": profile}
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF raises nearly anything
        return image.copy()


def _known(image: Image.Image, profile: bytes | None, remark: Remark) -> tuple[Image.Image, bytes | None]:
    """As RGB, with the profile that it is in; None for sRGB."""
    try:
        if profile is not None:
            return _by_profile(image, profile)
    except DataError as error:
        remark(f"its colour profile cannot be used ({error}), and its colours are taken for sRGB")
    return (convert(image, None, None) if image.mode == "LAB" else image.convert("RGB")), None


def _by_profile(image: Image.Image, profile: bytes) -> tuple[Image.Image, bytes | None]:
    mode = mode_of(profile)
    if mode == "L" and image.mode in ("L", "1") and (equal := rgb_of_grey(profile)) is not None:
        mode, profile = "RGB", equal
    if mode == "RGB" and image.mode not in ("CMYK", "LAB"):
        rgb = image.convert("RGB")
        if is_srgb(profile):
            return rgb, None
        try:
            convert(rgb.crop((0, 0, 1, 1)), None, profile)
        except DataError:  # there is no way back, as with that of some scanners
            return convert(rgb, profile, None), None
        return rgb, profile
    if mode != image.mode and (mode, image.mode) != ("L", "1"):
        raise DataError(f"it is for {mode}, and the image is {image.mode}")
    return convert(image.convert(mode), profile, None), None


def seen(image: Image.Image) -> Image.Image:
    """Makes of what :func:`original` returns what networks see: RGB in sRGB, with transparent areas on white."""
    rgb, profile = image.convert("RGB"), image.info.get("icc_profile")
    if profile is not None:
        rgb = convert(rgb, profile, None)
    if image.mode == "RGBA":
        rgb.putalpha(image.getchannel("A"))
        rgb = Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgb).convert("RGB")
    rgb.info = {}
    return rgb


def upright_rgb(image: Image.Image, remark: Remark = _warn) -> Image.Image:
    """Makes of an opened image what :func:`decode` returns: upright 8-bit sRGB. The image itself stays as it is.

    Raises:
        DataError: if its pixels are floating-point numbers.
    """
    return seen(original(image, remark))


def square(image: Image.Image, resolution: int) -> Image.Image:
    """Resizes the short side to ``resolution`` with Pillow's (antialiasing) Lanczos filter, and crops the centre.

    Both in one step: the crop is not rounded to whole pixels, so the picture stays centred and undistorted.

    Args:
        image: an image of any size.
        resolution: side of the result, in pixels.

    >>> square(Image.new("RGB", (300, 200)), 64).size
    (64, 64)
    """
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((resolution, resolution), Image.Resampling.LANCZOS, box=box)


def to_tensor(image: Image.Image, flip: bool = False) -> Tensor:
    """An RGB image as float32 (3, H, W) in [-1, 1].

    Args:
        image: 8-bit RGB.
        flip: mirrors it left to right.

    >>> to_tensor(Image.new("RGB", (1, 1), (0, 51, 255))).flatten().tolist()  # 51 / 127.5 - 1 = -0.6
    [-1.0, -0.6000000238418579, 1.0]
    """
    pixels = np.asarray(image)[:, ::-1] if flip else np.asarray(image)
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)
    return torch.from_numpy(planes).div_(127.5).sub_(1)


def to_image(tensor: Tensor) -> Image.Image:
    """The inverse of :func:`to_tensor`: (3, H, W), clamped to [-1, 1], as an 8-bit RGB image.

    >>> to_image(to_tensor(Image.new("RGB", (1, 1), (0, 51, 255)))).getpixel((0, 0))
    (0, 51, 255)
    """
    return Image.fromarray(to_array(tensor))


def to_array(images: Tensor) -> NDArray[np.uint8]:
    """Images (…, 3, H, W) in [-1, 1] as an array (…, H, W, 3) of 8 bits."""
    return np.ascontiguousarray(to_bytes(images).movedim(-3, -1).cpu().numpy())


def to_bytes(images: Tensor) -> Tensor:
    """Images, clamped to [-1, 1], in 8 bits: uint8 of the same shape.

    >>> to_bytes(torch.tensor([-1.5, -0.6, 1.0])).tolist()
    [0, 51, 255]
    """
    return images.detach().float().add(1).mul_(127.5).round_().clamp_(0, 255).byte()


def from_bytes(images: Tensor) -> Tensor:
    """The inverse of :func:`to_bytes`: uint8 as float32 in [-1, 1]; floating-point images stay, as float32.

    >>> from_bytes(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    [-1.0, 1.0]
    """
    return images.float().div_(127.5).sub_(1) if images.dtype == torch.uint8 else images.float()


def load_tensor(data: bytes, resolution: int, flip: bool = False, remark: Remark = _warn) -> Tensor:
    """Turns a file's bytes into float32 (3, resolution, resolution) in [-1, 1]: ``decode``, ``square``, ``to_tensor``.

    Raises:
        DataError: as :func:`decode`.
    """
    return to_tensor(square(decode(data, resolution, remark), resolution), flip)
