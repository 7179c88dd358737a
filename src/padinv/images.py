"""From encoded bytes to a tensor: decode to RGB, crop to a centred square, resize, scale to [-1, 1]."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from padinv.exceptions import DataError

MAX_PIXELS = 89_478_485
"""The largest image that is decoded, in pixels: Pillow's own limit against decompression bombs."""

MAX_BYTES = 1 << 28
"""The largest encoded image that is read (256 MiB): a larger one is a mistake or an attack."""

HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
"""What such files begin with, behind four bytes and "ftyp": telephones write them, and Pillow may not read them."""


def read_bytes(path: str) -> bytes:
    """The bytes of an image file.

    Raises:
        DataError: It is larger than `MAX_BYTES`.
        OSError: It cannot be read.
    """
    with Path(path).open("rb") as file:
        return limited(file.read(MAX_BYTES + 1))


def limited(data: bytes) -> bytes:
    """The same bytes, of which a reader has taken one more than it should use.

    Raises:
        DataError: It is larger than `MAX_BYTES`.
    """
    if len(data) > MAX_BYTES:
        raise DataError(f"it is larger than {MAX_BYTES >> 20} MiB")
    return data


def decode(data: bytes, resolution: int | None = None) -> Image.Image:
    """Decode an image file, upright and as 8-bit RGB.

    EXIF rotation is applied; grey becomes three equal channels; 16-bit grey is scaled (65535 is 255), not cut;
    whatever is transparent is laid on white; of an animation the first frame is taken; colour profiles are ignored.

    Args:
        data: The file's bytes.
        resolution: The side the image will be resized to. A JPEG at least four times as large is then decoded at
            1/2, 1/4 or 1/8 of its size, and still at least twice as large as wanted.

    Raises:
        DataError: It is empty, no image, truncated, too large, or of floating-point pixels; gives the reason only.
    """
    if not data:
        raise DataError("the file is empty")
    with warnings.catch_warnings():
        # Pillow warns of odd metadata, in files that are fine for us; its warning of a bomb is an error.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return _decode(data, resolution)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise DataError(_too_large("it")) from error
        except UnidentifiedImageError as error:
            if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
                raise DataError("it is a HEIC or AVIF image, which is not read here; save it as JPEG or PNG") from error
            raise DataError("it is not an image") from error
        except DataError:
            raise
        except (
            Exception
        ) as error:  # decoders raise nearly anything on damaged bytes: OSError, SyntaxError, struct.error
            raise DataError(str(error) or type(error).__name__) from error


def _decode(data: bytes, resolution: int | None) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(data))
    if image.width * image.height > MAX_PIXELS:  # Pillow's limit may have been lifted by another library
        raise DataError(_too_large(f"it has {image.width}x{image.height} pixels and"))
    if resolution is not None:
        image.draft(None, (2 * resolution, 2 * resolution))  # only JPEG has it; elsewhere it does nothing
    return upright_rgb(image)


def _too_large(what: str) -> str:
    return f"{what} is larger than the limit of {MAX_PIXELS:,} pixels"


def upright_rgb(image: Image.Image) -> Image.Image:
    """An opened image as :func:`decode` returns it: upright and 8-bit RGB; the image itself stays as it is.

    Raises:
        DataError: Its pixels are floating-point numbers.
    """
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise DataError("its pixels are floating-point numbers, whose range is not defined")
    if image.mode.startswith("I"):
        values = np.asarray(image).clip(0, 65535) / 257
        image = Image.fromarray(values.round().astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def square(image: Image.Image, resolution: int) -> Image.Image:
    """Resize the short side to `resolution` with Pillow's (antialiasing) Lanczos filter, and crop the centre.

    Both in one step: the crop is not rounded to whole pixels, so the picture stays centred and undistorted.

    Args:
        image: Of any size.
        resolution: Side of the result, in pixels.

    Example:
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
        flip: Mirror it left to right.

    Example:
        >>> to_tensor(Image.new("RGB", (1, 1), (0, 51, 255))).flatten().tolist()  # 51 / 127.5 - 1 = -0.6
        [-1.0, -0.6000000238418579, 1.0]
    """
    pixels = np.asarray(image)[:, ::-1] if flip else np.asarray(image)
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)
    return torch.from_numpy(planes).div_(127.5).sub_(1)


def load_tensor(data: bytes, resolution: int, flip: bool = False) -> Tensor:
    """From the file's bytes to float32 (3, resolution, resolution) in [-1, 1]: `decode`, `square`, `to_tensor`.

    Raises:
        DataError: As `decode` does.
    """
    return to_tensor(square(decode(data, resolution), resolution), flip)
