"""Tells by its first bytes what a file is if it is no checkpoint, and what to do: most are failed downloads."""

from __future__ import annotations

import re
from collections.abc import Iterable

LOOKED_AT = 1024
"""The number of bytes that :func:`kind_of` needs: a tar archive has its mark behind 257 of them."""

PAGE = (
    "a web page, not the file itself, as drives and sites show before a download or a login: open the link in a "
    "browser, download the file there, and give its path"
)
TENSORFLOW = "a model or checkpoint of TensorFlow: padinv reads the .pkl that NVIDIA's StyleGAN2 writes"
LINK = "a link, not the file itself: open it, and give what it leads to"
BESIDE = "what Windows or macOS keep beside a file, not the file itself: give that, whose name is like this one's"
UNPACK = "unpack it, and give the checkpoint inside"
IMAGE = "which is no checkpoint: give the file of a network"

KINDS: tuple[tuple[str, str], ...] = (
    (r"\s*(<!--((?!-->).)*-->\s*)*(<\?xml[^>]*>\s*)?<(!doctype\s+html|html|head|body|script|title|meta)\b", PAGE),
    (r"\[InternetShortcut\]|bplist00|L\x00{3}\x01\x14\x02\x00", LINK),
    (r"\[ZoneTransfer\]|\x00\x05\x16[\x00\x07]", BESIDE),
    (r"outs:\s*\n\s*-\s+(md5|etag|hash|size)\b", "a DVC pointer, not the file itself: run dvc pull"),
    (r"version https?://(git-lfs|hawser)\.github\.com", "a Git LFS pointer, not the file itself: run git lfs pull"),
    (r"(\.\./|\./)*(\.git/)?/?annex/objects/", "a git-annex pointer, not the file itself: run git annex get"),
    (r"\s*<svg\b|\s*<\?xml[^>]*>\s*(<!doctype svg|<svg)", f"an image (SVG), {IMAGE}"),
    (r"\s*<(\?xml|[a-z]\w*[\s>/])", "an XML document, such as the error of a server: download the file again"),
    (r'\s*[{\[]\s*(["\[{}\]]|-?\d)', "JSON text, such as the error of a server or an index: give the file of weights"),
    (r"\x89PNG\r\n\x1a\n", f"an image (PNG), {IMAGE}"),
    (r"\xff\xd8\xff", f"an image (JPEG), {IMAGE}"),
    (r"GIF8[79]a", f"an image (GIF), {IMAGE}"),
    (r"RIFF.{4}WEBP", f"an image (WebP), {IMAGE}"),
    (r"BM.{4}\x00{4}", f"an image (BMP), {IMAGE}"),
    (r"II\*\x00|MM\x00\*", f"an image (TIFF), {IMAGE}"),
    (r"8BPS\x00|v/1\x01|\xff\x0a|\x00{3}\x0cJXL |\x00{3}\x0cjP  |\x00\x00\x01\x00[^\x00]\x00", f"an image, {IMAGE}"),
    (r".{4}ftyp(heic|heix|hevc|mif1|msf1|avif|avis)", f"an image (HEIC or AVIF), {IMAGE}"),
    (r".{4}ftyp|RIFF.{4}AVI |\x1aE\xdf\xa3", f"a video, {IMAGE}"),
    (r"RIFF.{4}WAVE|ID3[\x02-\x04]|OggS\x00|fLaC", f"sound, {IMAGE}"),
    (r"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras and MATLAB write: save the weights by torch.save or as safetensors"),
    (r"GGUF|lmgg|tjgg|fmgg", "a GGUF file of a language model, which is no StyleGAN2"),
    (r".{4}TFL3", "a TensorFlow Lite model: give the checkpoint that it was made from"),
    (r".{4}ET12", "a program of ExecuTorch: give the checkpoint that it was made from"),
    (r"\x08\x01\x12..?.?\x0a", TENSORFLOW),
    (r"\x08[\x01-\x20]\x12..?\x0a", "a Core ML model: give the checkpoint that it was made from"),
    (r"\x00\x00.\x08[\x01-\x7f]\x1a", TENSORFLOW),
    (r"[^\x00].?.?\x00{5,7}.{4}\x0a.{1,3}\x0a", "a TFRecord file, of data: give the file of a network"),
    (r"PAR1|ARROW1\x00\x00|Obj\x01", "a table (Parquet, Arrow or Avro): give the file of a network"),
    (r"MATLAB 5\.0 MAT-file", "a MATLAB file: save the weights by torch.save or as safetensors"),
    (r"[\x81-\x8f][\xa1-\xbf][a-z]", "a MessagePack file, as Flax and JAX write: save the weights as safetensors"),
    (r"\x93NUMPY", "a NumPy array, which is no network; a direction or latents are given where those are asked for"),
    (r"\x08[\x01-\x20][\x12\x1a\x22\x2a\x32\x3a\x42]", "an ONNX file: give the checkpoint that it was exported from"),
    (r".{257}ustar", f"a tar archive: {UNPACK}"),
    (r"\x1f\x8b", f"compressed (gzip): {UNPACK}"),
    (r"BZh\d|\xfd7zXZ\x00|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18", f"compressed (bzip2, xz, zstd or lz4): {UNPACK}"),
    (r"\x1f\x9d|\x5d\x00\x00..\xff{6}|LZIP", f"compressed (compress, lzma or lzip): {UNPACK}"),
    (r"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07", f"an archive (7z or RAR): {UNPACK}"),
    (r"%PDF-", "a PDF document"),
    (r"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of Microsoft Office"),
    (r"\x7fELF|MZ.\x00|\xcf\xfa\xed\xfe|\xca\xfe\xba\xbe|\x00asm|!<arch>\n|#!", "a program, which padinv does not run"),
    (r"SQLite format 3\x00|.{16}\xde\xc0\xef\xbe", "a database"),
    (r"\x00+$", "nothing but zeros, as an interrupted download leaves: download it again"),
)
"""Patterns of first bytes that no checkpoint has, in the order in which to look, and what such a file is."""

PATTERNS = tuple((re.compile(pattern.encode("latin-1"), re.DOTALL | re.IGNORECASE), what) for pattern, what in KINDS)

UTF16 = ((b"\xff\xfe", b"<\x00", "utf-16-le"), (b"\xfe\xff", b"\x00<", "utf-16-be"))
"""The byte-order marks of UTF-16, how a page without one begins, and the encoding."""

MEMBERS: tuple[tuple[str, str], ...] = (
    (r".*\.npy", "a NumPy archive, which is no network; latents are given where those are asked for"),
    (r"[^/]+/(constants\.pkl|code/.*)", "a TorchScript program: save the state_dict() of the network by torch.save"),
    (r"[^/]+/models/.*|(.*/)?serialized_\w+\.json", "a program of torch.export: give the checkpoint it was made from"),
    (r"(.*/)?model\.weights\.h5|(.*/)?keras_metadata\.pb", "a Keras model, and padinv reads none"),
    (r"(.*/)?(\.metadata|.*\.distcp)", "a distributed checkpoint: make one file of it with torch's dcp_to_torch_save"),
    (r".*\.(pt|pth|pkl|ckpt|safetensors)", f"an archive around a checkpoint: {UNPACK}"),
)
"""Patterns of the members of zip archives that torch.save has not written, and what such a file is."""


def kind_of(start: bytes) -> str | None:
    """Names the kind of file that begins with these bytes, and the mend; None if it may be a checkpoint.

    >>> kind_of(b"GIF89a")
    'an image (GIF), which is no checkpoint: give the file of a network'
    """
    start = start.removeprefix(b"\xef\xbb\xbf")
    for mark, first, encoding in UTF16:
        if start.startswith((mark, first)):
            start = start.removeprefix(mark).decode(encoding, "ignore").encode()
    return next((what for pattern, what in PATTERNS if pattern.match(start)), None)


def kind_of_archive(names: Iterable[str]) -> str | None:
    """Names the kind of zip archive that has members of these names; None if unknown."""
    names = list(names)
    return next((what for pattern, what in MEMBERS if any(re.fullmatch(pattern, name) for name in names)), None)


def is_text(start: bytes) -> bool:
    """Tells whether bytes are plain text, such as a configuration, a log or source code."""
    try:
        text = start.decode("utf-8" if len(start) < LOOKED_AT else "latin-1")
    except UnicodeDecodeError:
        return False
    return bool(text) and all(c.isprintable() or c in "\t\r\n\f" for c in text)
