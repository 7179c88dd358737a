"""The bytes of image files: what a file is by its first ones, and the parts of JPEG and PNG around the pixels.

Pillow decodes the pixels. It refuses a picture with damaged metadata, and reads any number of scans; this module helps
with both.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Iterator

from padinv.colour import MAX_PROFILE_BYTES

HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
"""What such files begin with, behind four bytes and "ftyp": telephones write them, and Pillow may not read them."""

OTHER_FORMATS = {
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"%PDF": "PDF",
    b"8BPS": "a Photoshop image",
    b"\xff\x0a": "a JPEG XL image",
    b"\0\0\0\x0cJXL ": "a JPEG XL image",
    b"\0\0\1\0": "an icon",
    b"qoif": "a QOI image",
    b"<svg": "an SVG drawing",
    b"v/1\x01": "an OpenEXR image",
    b"#?RADIANCE": "an image of Radiance",
    b"gimp xcf": "a GIMP image",
    b"icns": "an icon",
    b"II\xbc\x01": "a JPEG XR image",
    b"FLIF": "a FLIF image",
    b"BPG\xfb": "a BPG image",
    b"FUJIFILMCCD-RAW": "a raw photograph",
}
"""How pictures begin that are not read."""

STARTS = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "GIF": rb"GIF8[79]a",
    "WEBP": rb"RIFF.{4}WEBP",
    "AVIF": rb".{4}ftypavi[fs]",
}
"""How pictures begin that are read, by Pillow's names: one that Pillow takes for no image is damaged."""

NO_PICTURES = {
    rb"\s*<(!doctype html|html|head|body)\b": "a web page, not the image itself; open the link in a browser, "
    "and save the image there",
    rb"version https://git-lfs\.": "a Git LFS pointer, not the file itself; run git lfs pull",
    rb"(\.\./|\./)*(\.git/)?/?annex/objects/": "a git-annex pointer, not the file itself; run git annex get",
    rb"\x00\x05\x16[\x00\x07]": "what macOS keeps beside a file, not the image itself; give the file without ._",
    rb"\x1f\x8b|PK\x03\x04|7z\xbc\xaf|Rar!": "an archive; unpack it, and give the image inside",
    rb"data:image/|iVBORw0KGgo|/9j/4AA": "text that encodes an image (Base64); decode it first",
    rb"\s*(<\?xml|[{\[])": "text, such as the error of a server, not the image itself; download it again",
}
"""How files begin that come in place of an image."""

JPEG = b"\xff\xd8"
PNG = b"\x89PNG\r\n\x1a\n"
PIXELS_OF_PNG = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
"""The chunks without which there is no picture."""
MEANING_OF_PNG = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"eXIf": None}
"""The chunks that change how it looks, and how long they are."""


def kind_of(data: bytes, formats: Collection[str] = ()) -> str:
    """What a file is that Pillow takes for no image, and what to do about it.

    Args:
        data: the file's bytes.
        formats: Pillow's names of those that are read; a file that begins as one of them is damaged.

    >>> kind_of(b"GIF89a", ["GIF"]), kind_of(b"a text", ["GIF"])
    ('damaged, or ends early; copy or download it again', 'not an image')
    """
    if any(name in formats and re.match(start, data, re.DOTALL) for name, start in STARTS.items()):
        return "damaged, or ends early; copy or download it again"
    for start, what in NO_PICTURES.items():
        if re.match(start, data, re.IGNORECASE):
            return what
    kind = next((kind for start, kind in OTHER_FORMATS.items() if data.startswith(start)), None)
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        kind = "a HEIC or AVIF image"
    return "not an image" if kind is None else f"{kind}, which is not read here; save it as JPEG or PNG"


def scans_of(data: bytes) -> Iterator[int]:
    """One number for each time that a JPEG goes over its pixels."""
    return (kind for kind, _ in _segments(data) if kind == 0xDA)


def is_deep(data: bytes) -> bool:
    """Whether a PNG has 16 bits a channel, in colour or with alpha."""
    return data.startswith(PNG) and data[24] == 16 and data[25] in (2, 4, 6)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The segments of a JPEG up to its end: the marker, and all bytes up to the next."""
    marker, at = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]"), 2
    while (found := marker.search(data, at)) is not None and (kind := data[found.end() - 1]) != 0xD9:
        behind = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
        after = marker.search(data, behind) if kind == 0xDA else None
        at = after.start() if after is not None else (len(data) if kind == 0xDA else behind)
        yield kind, data[found.start() : at]


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG: the kind, and all bytes, of which the last may be missing."""
    at = len(PNG)
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at:end]
        at = end


def _is_whole(kind: bytes, chunk: bytes) -> bool:
    """Whether a chunk of metadata is undamaged, and matters."""
    length = MEANING_OF_PNG.get(kind, -1)
    return length in (None, len(chunk) - 12) and zlib.crc32(chunk[4:-4]).to_bytes(4, "big") == chunk[-4:]


def without_metadata(data: bytes) -> bytes | None:
    """The same picture without its metadata; None if they cannot be told from the picture."""
    if data.startswith(PNG):
        chunks = (chunk for kind, chunk in _chunks(data) if kind in PIXELS_OF_PNG or _is_whole(kind, chunk))
        return PNG + b"".join(chunks)
    if data.startswith(JPEG):
        kept = b"".join(
            segment
            for kind, segment in _segments(data)
            if not (0xE0 <= kind <= 0xEF or kind == 0xFE)  # except the marks of how colours are stored
            or (kind == 0xEE and segment[4:9] == b"Adobe" and len(segment) >= 16)
            or (kind == 0xE2 and segment[4:16] == b"ICC_PROFILE\0")
        )
        return JPEG + kept + b"\xff\xd9" if b"\xff\xd9" in data else JPEG + kept
    return None


def profile_of_png(data: bytes) -> bytes | None:
    """The profile in a PNG, which Pillow refuses above 1 MiB: empty if it is damaged, None if there is none."""
    for kind, chunk in _chunks(data):
        if kind == b"iCCP":
            _, _, packed = chunk[8:-4].partition(b"\0")
            try:
                return zlib.decompressobj().decompress(packed[1:], MAX_PROFILE_BYTES + 1)
            except zlib.error:
                return b""
    return None
