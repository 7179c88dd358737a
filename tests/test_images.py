import struct
import time
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from image_files import encode, noise, png_header
from padinv import images
from padinv.exceptions import DataError
from padinv.images import decode, load_tensor, square, to_tensor


def palette_with_transparency() -> bytes:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((0, 0), 0)
    return encode(image, transparency=0)


def test_png_pixels_are_unchanged() -> None:
    image = noise((7, 5))
    assert np.array_equal(np.asarray(decode(encode(image))), np.asarray(image))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
def test_formats(kind: str) -> None:
    image = decode(encode(Image.new("RGB", (16, 16), (200, 100, 50)), kind))
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image, int) - (200, 100, 50)).max() <= 4


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (4, 4), 77), (77, 77, 77)),
        (Image.new("1", (4, 4), 1), (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (200, 100, 0, 255)), (200, 100, 0)),
        (Image.new("RGBA", (4, 4), (200, 100, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (200, 100, 0, 51)), (244, 224, 204)),  # 51 / 255 = 1 / 5 of the colour, 4 / 5 white
        (Image.new("LA", (4, 4), (100, 51)), (224, 224, 224)),
        (Image.fromarray(np.full((4, 4), 65535, np.uint16)), (255, 255, 255)),
        (Image.fromarray(np.full((4, 4), 257 * 77, np.uint16)), (77, 77, 77)),
    ],
    ids=["grey", "bilevel", "opaque", "transparent", "translucent", "grey alpha", "16 bit white", "16 bit grey"],
)
def test_modes_become_rgb(image: Image.Image, expected: tuple[int, int, int]) -> None:
    assert decode(encode(image)).getcolors() == [(16, expected)]


def test_palette_with_a_transparent_colour() -> None:
    image = decode(palette_with_transparency())
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((1, 1)) == (200, 100, 50)


def test_cmyk_jpeg() -> None:
    image = decode(encode(Image.new("RGB", (16, 16), (200, 100, 50)).convert("CMYK"), "JPEG"))
    assert np.abs(np.asarray(image, int) - (200, 100, 50)).max() <= 4


@pytest.mark.parametrize(("orientation", "where"), [(1, (0, 0)), (3, (3, 1)), (6, (1, 0)), (8, (0, 3))])
def test_exif_rotation_is_applied(orientation: int, where: tuple[int, int]) -> None:
    image = Image.new("RGB", (4, 2))
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = decode(encode(image, exif=exif))
    assert upright.size == ((2, 4) if orientation in (6, 8) else (4, 2))
    assert upright.getpixel(where) == (255, 0, 0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"this is a text\n" * 20, "it is not an image"),
        (b"\n<!DOCTYPE html><title>", "it is a web page, not the image itself"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "run git lfs pull"),
        (b'{"error": "not found"}', "the error of a server"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is a HEIC or AVIF image"),
        (encode(noise((64, 64)), "JPEG")[:-500], "truncated"),
        (encode(noise((64, 64)))[:-500], "truncated"),
        (encode(noise((64, 64)), "WEBP")[:-500], "."),
        (png_header(50_000, 50_000), "larger than the limit"),
        (png_header(12_000, 8_000), "larger than the limit"),  # Pillow only warns of this one
        (encode(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "floating-point"),
        (encode(Image.fromarray(np.full((4, 4), 200, np.int32)), "TIFF"), "numbers of 32 bits"),
    ],
    ids=[
        "empty",
        "text",
        "page",
        "pointer",
        "error",
        "heic",
        "cut jpeg",
        "cut png",
        "cut webp",
        "bomb",
        "small bomb",
        "float",
        "32 bits",
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        decode(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encode(noise((64, 64)))[:30], "it is damaged, or ends early; copy or download it again"),
        (encode(noise((64, 64)), "JPEG")[:40], "it is damaged, or ends early"),
        (encode(noise((64, 64)), "GIF")[:8], "it is damaged, or ends early"),
        (encode(noise((64, 64)), "WEBP")[:-500], r"it is damaged, or ends early \(.*\); copy or download it again"),
        (encode(noise((64, 64)), "BMP")[:-500], r"ends early \(image file is truncated\); copy"),
        (b"v/1\1\2\0\0\0", "it is an OpenEXR image"),
        (b"/annex/objects/SHA256E-s1--a.jpg\n", "git annex get"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X", "give the file without ._"),
        (b"PK\3\4", "an archive; unpack it"),
        (b"data:image/png;base64,iVBORw0KGgo=", "decode it first"),
    ],
)
def test_what_is_damaged_or_something_else_says_so(data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        decode(data)


def test_the_limit_holds_where_pillows_was_lifted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(DataError, match="50000x50000"):
        decode(png_header(50_000, 50_000))


def test_odd_metadata_is_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    image = decode(encode(noise((8, 8)), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\xff\1\x12\0\3"))
    assert image.size == (8, 8)
    assert not recwarn.list
    warnings.warn("filters are as before", UserWarning, stacklevel=1)
    assert len(recwarn.list) == 1


def test_large_jpeg_is_decoded_small_and_looks_the_same() -> None:
    smooth = noise((8, 6)).resize((1024, 768), Image.Resampling.BICUBIC)
    data = encode(smooth, "JPEG", quality=95)
    assert decode(data, 64).size == (256, 192)  # 1/4: the short side is still at least twice 64
    assert decode(data, 100).size == (512, 384)
    assert decode(data, 256).size == (1024, 768)
    drafted, full = to_tensor(square(decode(data, 64), 64)), to_tensor(square(decode(data), 64))
    assert (drafted - full).abs().max() < 0.05


def test_square_takes_the_centre() -> None:
    image = Image.new("RGB", (30, 10), "black")
    image.paste("red", (10, 0, 20, 10))
    assert square(image, 10).getcolors() == [(100, (255, 0, 0))]
    assert square(image.rotate(90, expand=True), 10).getcolors() == [(100, (255, 0, 0))]


def test_square_is_resize_of_the_short_side_then_centre_crop() -> None:
    image = noise((96, 64))
    reference = image.resize((48, 32), Image.Resampling.LANCZOS).crop((8, 0, 40, 32))
    assert np.array_equal(np.asarray(square(image, 32)), np.asarray(reference))


def test_square_antialiases() -> None:
    board = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)).convert("RGB")
    inner = np.asarray(square(board, 16))[2:-2, 2:-2]
    assert np.abs(inner.astype(int) - 127).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (5, 3)])
def test_tiny_images_are_enlarged(size: tuple[int, int]) -> None:
    tensor = load_tensor(encode(Image.new("RGB", size, (255, 0, 51))), 8)
    assert tensor.shape == (3, 8, 8)
    assert torch.equal(tensor[:, 0, 0], torch.tensor([1.0, -1.0, 51 / 127.5 - 1]))


def test_to_tensor_flips_left_and_right() -> None:
    image = noise((6, 4))
    assert to_tensor(image).dtype == torch.float32
    assert torch.equal(to_tensor(image, flip=True), to_tensor(image).flip(-1))
    assert not torch.equal(to_tensor(image, flip=True), to_tensor(image))


def test_the_limit_is_pillows() -> None:
    assert Image.MAX_IMAGE_PIXELS == images.MAX_PIXELS


def many_scans(count: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """A progressive JPEG that goes over its pixels so often, each time for nothing."""
    data = encode(Image.new("RGB", size), "JPEG", progressive=True)
    end = data.rindex(b"\xff\xd9")
    last = data.rindex(b"\xff\xda")
    return data[:end] + data[last:end] * count + data[end:]


def test_a_jpeg_of_very_many_scans_is_refused_at_once() -> None:
    assert decode(many_scans(20)).size == (64, 64)
    data = many_scans(3000, (2048, 2048))
    assert len(data) < 3_000_000
    start = time.process_time()
    with pytest.raises(DataError, match="goes over its pixels more than 100 times"):
        decode(data)
    assert time.process_time() - start < 2  # of the processor: a busy machine adds none
    thumbnails = noise((8, 8))
    inside = encode(thumbnails, "JPEG", progressive=True)[2:]  # what begins a scan in metadata is none
    exif = b"Exif\0\0" + inside * 20
    assert decode(encode(noise((8, 8)), "JPEG", exif=exif[:60_000])).size == (8, 8)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n" + b"showpage\n" * 20, "PostScript, which is not read"),
        (b"%PDF-1.7\n" * 20, "PDF, which is not read"),
        (encode(noise((8, 8)), "ICO"), "an icon, which is not read"),
        (encode(noise((8, 8)), "TGA"), "it is not an image"),
        (encode(noise((8, 8)), "PCX"), "it is not an image"),
    ],
    ids=["eps", "pdf", "ico", "tga", "pcx"],
)
def test_other_formats_are_not_opened(data: bytes, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.check_call", never)
    monkeypatch.setattr("subprocess.Popen", never)
    with pytest.raises(DataError, match=reason):
        decode(data)


def chunk(kind: bytes, data: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ wrong)


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"tEXt", b"Comment\0x", wrong=1),
        chunk(b"gAMA", b"\0"),
        chunk(b"cHRM", b"\0\0"),
        chunk(b"sRGB", b""),
        chunk(b"pHYs", b"\0"),
        chunk(b"iCCP", b"x\0\7"),
        chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  zz\nxyz"),
        b"".join(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000))) for _ in range(70)),
    ],
    ids=[
        "text",
        "xmp",
        "checksum",
        "gamma",
        "primaries",
        "srgb",
        "density",
        "profile",
        "exif",
        "old exif",
        "much text",
    ],
)
@pytest.mark.parametrize("place", ["before", "behind"])
def test_broken_metadata_are_no_reason_to_refuse_pixels(extra: bytes, place: str) -> None:
    image = noise((9, 7))
    data = encode(image)
    at = 33 if place == "before" else data.rindex(b"IEND") - 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", images.ImageWarning)
        assert np.array_equal(np.asarray(decode(data[:at] + extra + data[at:])), np.asarray(image))


def test_what_metadata_still_mean_beside_broken_ones() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(noise((9, 7)), exif=exif)
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000)))
    assert decode(data[:33] + text + data[33:]).size == (7, 9)


@pytest.mark.parametrize("marker", [0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE])
@pytest.mark.parametrize("content", [b"", b"JFIF\0", b"Exif\0\0MM", b"MPF\0MM\0*", b"Photoshop 3.0\08BIM", b"Adobe"])
def test_broken_segments_of_a_jpeg(marker: int, content: bytes) -> None:
    data = encode(noise((16, 16)), "JPEG")
    segment = bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content
    assert decode(data[:2] + segment + data[2:]).size == (16, 16)
