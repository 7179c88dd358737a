"""Whatever a file says of its colours, the networks see sRGB."""

from __future__ import annotations

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from colour_profiles import PRIMARIES, WHITE, cmyk_profile, grey_profile, rgb_profile, srgb_curve, true_srgb
from image_files import encode, noise
from padinv.images import ImageWarning, decode, decode_original, original, seen, upright_rgb

P3, ADOBE = rgb_profile("Display P3"), rgb_profile("AdobeRGB", 563 / 256)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
COLOURS = noise((48, 40), seed=3)


def levels(image: Image.Image, expected: np.ndarray) -> float:
    """How far apart, at most, in levels of 255."""
    return float(np.abs(np.asarray(image, float) - expected).max())


def with_chunks(png: bytes, **chunks: bytes) -> bytes:
    """A PNG with more chunks behind its header."""
    more = b"".join(
        struct.pack(">I", len(data)) + kind.encode() + data + struct.pack(">I", zlib.crc32(kind.encode() + data))
        for kind, data in chunks.items()
    )
    return png[:33] + more + png[33:]


def chrm(name: str) -> bytes:
    return struct.pack(">8I", *(round(value * 100_000) for pair in (WHITE, *PRIMARIES[name]) for value in pair))


@pytest.mark.parametrize(("profile", "space", "exponent"), [(P3, "Display P3", None), (ADOBE, "AdobeRGB", 563 / 256)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_profile_is_followed_by_arithmetic(profile: bytes, space: str, exponent: float | None, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    expected = true_srgb(np.asarray(COLOURS), space, exponent)
    assert levels(COLOURS, expected) > 60
    assert levels(decode(encode(COLOURS, kind, icc_profile=profile, **options)), expected) <= 1


def test_jpeg_with_a_profile_also_where_it_is_decoded_small() -> None:
    plain = Image.new("RGB", (512, 512), (255, 80, 40))
    data = encode(plain, "JPEG", icc_profile=P3, quality=95)
    expected = true_srgb(np.asarray(decode(encode(plain, "JPEG", quality=95))), "Display P3")
    assert levels(decode(data), expected) <= 1
    assert decode(data, 64).size == (128, 128)
    assert levels(decode(data, 64), expected[:128, :128]) <= 1


def test_a_pillow_image_with_a_profile_is_read_as_its_file_is() -> None:
    image = COLOURS.copy()
    image.info["icc_profile"] = P3
    assert np.array_equal(np.asarray(upright_rgb(image)), np.asarray(decode(encode(COLOURS, icc_profile=P3))))
    assert image.info["icc_profile"] == P3
    assert np.array_equal(np.asarray(image), np.asarray(COLOURS))
    assert "icc_profile" not in upright_rgb(image).info  # or it would be followed twice


@pytest.mark.parametrize("profile", [SRGB, rgb_profile("sRGB"), None])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_srgb_is_left_bit_for_bit(profile: bytes | None, mode: str) -> None:
    image = COLOURS.convert(mode)
    options = {} if profile is None else {"icc_profile": profile}
    assert np.array_equal(np.asarray(decode(encode(image, **options))), np.asarray(image.convert("RGB")))
    assert not decode_original(encode(image, **options)).info


def test_one_profile_for_all_modes() -> None:
    grey = COLOURS.convert("L")
    as_colour = decode(encode(grey.convert("RGB"), icc_profile=ADOBE))
    assert np.array_equal(np.asarray(decode(encode(grey, icc_profile=ADOBE))), np.asarray(as_colour))
    palette = COLOURS.quantize(16)
    expected = true_srgb(np.asarray(palette.convert("RGB")), "Display P3")
    assert levels(decode(encode(palette, icc_profile=P3)), expected) <= 1


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_profiles(depth: int, kind: str) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(ramp) if depth == 8 else Image.fromarray(ramp.astype(np.uint16) * 257)
    expected = 255 * srgb_curve((ramp / 255.0) ** 1.8)[..., None].repeat(3, axis=-1)
    decoded = decode(encode(image, kind, icc_profile=grey_profile(1.8)))
    assert levels(decoded, expected) <= 1
    kept = decode_original(encode(image, kind, icc_profile=grey_profile(1.8)))  # with numbers of its own, for a face
    assert np.array_equal(np.asarray(kept), ramp[..., None].repeat(3, axis=-1))
    assert levels(seen(kept), expected) <= 1
    assert set(kept.info) == {"icc_profile"}


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_16_bits_are_rounded(channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (10, 12, channels))
    header = struct.pack(">IIBBBBB", 12, 10, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = {"IHDR": header, "iCCP": b"x\0\0" + zlib.compress(P3), "IDAT": zlib.compress(rows), "IEND": b""}
    exif = Image.Exif()
    exif[0x0112] = 3
    chunks = {"IHDR": header, "eXIf": exif.tobytes()[6:], **chunks}
    png = with_chunks(encode(COLOURS)[:33], **chunks)
    png = png[:8] + png[33:]  # without the header of another
    kept = decode_original(png)
    colours = values[..., [0, 0, 0]] if channels == 2 else values[..., :3]
    assert levels(kept.convert("RGB"), colours[::-1, ::-1] / 257) <= 0.5
    if channels == 3:
        assert levels(decode(png), true_srgb(colours[::-1, ::-1] / 257, "Display P3")) <= 1.5


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_with_a_profile(kind: str) -> None:
    inks = Image.new("CMYK", (16, 16), (255, 0, 0, 128))  # cyan, which Pillow alone would show
    decoded = decode(encode(inks, kind, icc_profile=cmyk_profile()))
    light = ((100 * (1 - 128 / 255) + 16) / 116) ** 3
    assert levels(decoded, np.full((16, 16, 3), 255 * srgb_curve(np.array(light)))) <= 2
    assert decode(encode(inks, kind)).getpixel((0, 0))[0] < 10


def test_cielab() -> None:
    lab = Image.merge("LAB", [Image.new("L", (4, 4), value) for value in (128, 128, 128)])
    light = ((100 * 128 / 255 + 16) / 116) ** 3
    assert levels(decode(encode(lab, "TIFF")), np.full((4, 4, 3), 255 * srgb_curve(np.array(light)))) <= 2


def test_transparency_is_laid_on_white_in_srgb() -> None:
    image = COLOURS.copy()
    image.putalpha(51)
    decoded = decode(encode(image, icc_profile=P3))
    expected = 0.2 * true_srgb(np.asarray(COLOURS), "Display P3") + 0.8 * 255
    assert levels(decoded, expected) <= 1
    kept = decode_original(encode(image, icc_profile=P3))
    assert kept.mode == "RGBA"
    assert np.array_equal(np.asarray(kept), np.asarray(image))
    assert kept.info == {"icc_profile": P3}


def test_a_palette_with_a_transparent_colour_and_a_profile() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 255, 0, 0])
    image.putpixel((0, 0), 0)
    decoded = decode(encode(image, transparency=0, icc_profile=ADOBE))
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert levels(decoded.crop((1, 0, 2, 1)), true_srgb(np.array([255, 0, 0]), "AdobeRGB", 563 / 256)) <= 1


def test_a_rotated_photograph_keeps_its_profile() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    kept = decode_original(encode(COLOURS, icc_profile=P3, exif=exif))
    assert kept.info == {"icc_profile": P3}  # and no rotation that somebody would do again
    assert np.array_equal(np.asarray(kept), np.asarray(COLOURS.rotate(-90, expand=True)))


@pytest.mark.parametrize(
    ("chunks", "space", "exponent"),
    [
        ({"gAMA": struct.pack(">I", 100_000)}, "sRGB", 1.0),
        ({"gAMA": struct.pack(">I", 55_556)}, "sRGB", 1.8),
        ({"gAMA": struct.pack(">I", 45_455), "cHRM": chrm("AdobeRGB")}, "AdobeRGB", 2.2),
    ],
)
def test_png_says_it_in_numbers(chunks: dict[str, bytes], space: str, exponent: float) -> None:
    expected = true_srgb(np.asarray(COLOURS), space, exponent)
    bright = np.asarray(COLOURS).min(axis=-1) > 8  # the profile's exponent is rounded to 1 / 256
    decoded = np.asarray(decode(with_chunks(encode(COLOURS), **chunks)), float)
    assert np.abs(decoded - expected)[bright].max() <= 1.5


@pytest.mark.parametrize(
    "chunks",
    [
        {"gAMA": struct.pack(">I", 45_455), "cHRM": chrm("sRGB")},  # as many programs write
        {"gAMA": struct.pack(">I", 100_000), "sRGB": b"\0"},
        {"gAMA": struct.pack(">I", 0)},
        {"cHRM": struct.pack(">8I", *[0] * 8)},
    ],
    ids=["sRGB's numbers", "sRGB", "no gamma", "no primaries"],
)
def test_png_that_means_srgb_or_nothing(chunks: dict[str, bytes]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)
        assert np.array_equal(np.asarray(decode(with_chunks(encode(COLOURS), **chunks))), np.asarray(COLOURS))


def test_cameras_mark_adobe_rgb_in_exif() -> None:
    exif = Image.Exif()
    exif[0x8769] = {0x9000: b"0230", 0xA005: {1: "R03", 2: b"0100"}}
    data = encode(COLOURS, "PNG", exif=exif)
    assert levels(decode(data), true_srgb(np.asarray(COLOURS), "AdobeRGB", 563 / 256)) <= 1


@pytest.mark.parametrize(
    "image",
    [
        (COLOURS, P3[:200]),
        (COLOURS, b"no profile"),
        (COLOURS, cmyk_profile()),
        (COLOURS, grey_profile(2.2)),
        (COLOURS.convert("CMYK"), P3),
        (COLOURS.convert("L"), cmyk_profile()),
    ],
    ids=["cut", "text", "for CMYK", "for grey", "for RGB", "grey for CMYK"],
)
def test_a_profile_that_cannot_be_used_is_told_once(image: tuple[Image.Image, bytes]) -> None:
    picture, profile = image
    remarks: list[str] = []
    data = encode(picture, "TIFF", icc_profile=profile)
    assert np.array_equal(np.asarray(decode(data, remark=remarks.append)), np.asarray(picture.convert("RGB")))
    (remark,) = remarks
    assert remark.startswith("its colour profile cannot be used (")
    assert remark.endswith("and its colours are taken for sRGB")
    with pytest.warns(ImageWarning, match="An image: its colour profile cannot be used"):
        decode(data)


def test_what_is_cut_off_in_a_file() -> None:
    data = encode(COLOURS, "JPEG", icc_profile=P3 + bytes(70_000))
    second = data.index(b"ICC_PROFILE\0\2")
    cut = data[: second - 4] + data[second - 2 + int.from_bytes(data[second - 2 : second], "big") :]
    png = with_chunks(encode(COLOURS), iCCP=b"x\0\0" + zlib.compress(P3)[:-200])
    for broken in (cut, png):
        with pytest.warns(ImageWarning, match="damaged"):
            assert decode(broken).size == COLOURS.size


def test_a_profile_larger_than_pillow_unpacks() -> None:
    profile = P3 + bytes(2_000_000)
    data = with_chunks(encode(COLOURS), iCCP=b"x\0\0" + zlib.compress(profile))
    assert levels(decode(data), true_srgb(np.asarray(COLOURS), "Display P3")) <= 1


def test_seen_undoes_what_original_keeps() -> None:
    image = COLOURS.copy()
    image.info["icc_profile"] = ADOBE
    assert np.array_equal(np.asarray(seen(original(image))), np.asarray(upright_rgb(image)))
