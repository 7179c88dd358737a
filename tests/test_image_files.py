"""What a file is by its first bytes, and the parts of JPEG and PNG around the pixels."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from padinv.image_files import is_deep, kind_of, profile_of_png, scans_of, without_metadata


def encoded(kind: str, **options: object) -> bytes:
    pixels = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.tobytes()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"  <!DOCTYPE html><title>", "a web page"),
        (b"%PDF-1.7", "PDF, which is not read here"),
        (b"\0\0\0\x18ftypheic", "a HEIC or AVIF image, which is not read here"),
        (b"\0\0\0\x18ftypmp42", "not an image"),
        (b'{"error": 404}', "text, such as the error of a server"),
    ],
)
def test_what_is_no_image(data: bytes, kind: str) -> None:
    assert kind_of(data).startswith(kind)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_without_metadata_the_picture_is_the_same(kind: str) -> None:
    text = PngInfo()
    text.add_text("comment", "x" * 100)
    options = {"pnginfo": text} if kind == "PNG" else {"comment": b"x" * 100}
    data = encoded(kind, **options)
    plain = without_metadata(data)
    assert plain is not None
    assert b"xxxx" in data
    assert b"xxxx" not in plain
    assert pixels(plain) == pixels(data)


def test_other_kinds_have_no_metadata_that_can_be_left_out() -> None:
    assert without_metadata(encoded("BMP")) is None


def test_scans_are_counted() -> None:
    assert len(list(scans_of(encoded("JPEG")))) == 1
    assert len(list(scans_of(encoded("JPEG", progressive=True)))) > 1


def test_depth_and_profile_of_a_png() -> None:
    profile = b"any bytes" * 10
    assert profile_of_png(encoded("PNG", icc_profile=profile)) == profile
    assert profile_of_png(encoded("PNG")) is None
    assert not is_deep(encoded("PNG"))
    header = b"\0\0\0\x01\0\0\0\x01\x10\x02\0\0\0"  # one pixel of 16 bits, RGB
    chunk = b"\0\0\0\x0dIHDR" + header + zlib.crc32(b"IHDR" + header).to_bytes(4, "big")
    assert is_deep(b"\x89PNG\r\n\x1a\n" + chunk)
