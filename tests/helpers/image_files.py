"""Small image files for tests: each is plain in a colour that tells its number."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def picture(number: int, size: tuple[int, int] = (12, 10)) -> Image.Image:
    """Plain but for the left column, which is white, so that a mirrored picture can be told."""
    image = Image.new("RGB", size, (number % 251, number // 251, 7))
    image.paste("white", (0, 0, max(1, size[0] // 4), size[1]))
    return image


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(256, size=(size[1], size[0], 3), dtype=np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is this large, and has next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


BROKEN = {
    "text.png": b"a text\n" * 20,
    "empty.png": b"",
    "cut.jpg": encode(noise((64, 64)), "JPEG")[:-500],
    "bomb.png": png_header(50_000, 50_000),
}
"""What people have in their folders."""


def write_folder(root: Path, count: int, size: tuple[int, int] = (12, 10)) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture(number, size).save(root / f"{number:04}.png")
    return root


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_lmdb(path: Path, values: dict[str, bytes]) -> Path:
    lmdb = pytest.importorskip("lmdb", reason="an extra")

    with lmdb.open(str(path), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key.encode(), value)
    return path
