"""Names the results of each photograph, so that every file system accepts the names and no two are the same."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import count
from pathlib import PurePath

MAX_NAME_BYTES = 200
"""The longest name of a result, in bytes: file systems allow 255, and a suffix follows."""

UNFIT = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
"""What some file systems or terminals refuse: characters special to Windows, controls, and bytes that are not UTF-8."""

DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names of devices on Windows, with any ending."""

RESULT_SUFFIX = re.compile(r"\.(png|safetensors)_*$", re.IGNORECASE)
"""The endings of files of results, or what :func:`names_of_faces` makes of them."""


def output_names(paths: Sequence[str], recorded: Mapping[str, str]) -> dict[str, str]:
    """Names the results of each photograph, without a suffix, so that no two share one.

    The name is the file's own: ``trip/lincoln.jpg`` becomes ``lincoln``. Photographs that would then share a name are
    told apart by their suffix (``lincoln.jpg``, ``lincoln.png``), or else by the folders that they are in
    (``trip-lincoln``, ``home-lincoln``). Upper and lower case are the same, and so are the ways to write an accent, as
    on many file systems.

    Args:
        paths: of the photographs, absolute, each once.
        recorded: path → name of photographs that already have results in the folder. They keep their names, and no
            other photograph gets one of these. The other names do not depend on how many paths are recorded.

    Returns:
        path → name, in the order of the paths.

    >>> output_names(["/a/1.jpg", "/b/1.jpg", "/b/2.jpg", "/b/2.png"], {})
    {'/a/1.jpg': 'a-1', '/b/1.jpg': 'b-1', '/b/2.jpg': '2.jpg', '/b/2.png': '2.png'}
    """
    owners = {same_file(name): path for path, name in recorded.items()}
    names: dict[str, str] = {}
    candidates = {path: _candidates(path) for path in paths}
    while candidates:
        proposed = {path: next(options) for path, options in candidates.items()}
        wanted = Counter(map(same_file, proposed.values()))
        for path, name in proposed.items():
            key = same_file(name)
            if wanted[key] == 1 and owners.setdefault(key, path) == path:
                names[path] = name
                del candidates[path]
    return {path: recorded.get(path, names[path]) for path in paths}


def names_of_faces(name: str, faces: int) -> list[str]:
    """Names the results of each face of a photograph: its own name for a single face, otherwise files in a folder.

    No result file of another photograph has that folder's name, since files end in a suffix.

    >>> names_of_faces("us", 1), names_of_faces("us", 2), names_of_faces("us.png", 2)
    (['us'], ['us/1', 'us/2'], ['us.png_/1', 'us.png_/2'])
    """
    if faces == 1:
        return [name]
    folder = f"{name}_" if RESULT_SUFFIX.search(name) else name
    return [f"{folder}/{number}" for number in range(1, faces + 1)]


def is_name(text: str) -> bool:
    """Whether a text can be a name of results, which only leads to a file in the folder."""
    # File systems take 255 bytes, endings included.
    return bool(text) and not text.startswith(".") and not UNFIT.search(text) and len(os.fsencode(text)) < 240


def same_file(name: str) -> str:
    """A key that is equal for names of one file on a file system that ignores case and spellings of accents."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _candidates(path: str) -> Iterator[str]:
    """The names that a photograph could have, the best first, and without an end."""
    file = PurePath(path)
    folders = [part for part in file.parent.parts if part != file.anchor]
    yield _clean(file.stem)
    yield _clean(file.name)
    for depth in range(1, len(folders) + 1):
        yield _clean("-".join([*folders[-depth:], file.stem]))
    whole = "-".join([*folders, file.name])
    yield _clean(whole)
    for number in count():  # a number, for paths that differ only in characters that a name cannot have
        text = f"{path}\0{number}" if number else path
        yield _clean(f"{whole}~{sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}")


def _clean(name: str) -> str:
    """Cleans a name for every file system: nothing unfit, hidden or reserved, and not too long."""
    name = UNFIT.sub("_", name)
    name = name.encode()[-MAX_NAME_BYTES:].decode(errors="ignore")
    name = re.sub(r"^\.|[. ]$", "_", name)
    return f"_{name}" if DEVICES.match(name) else name
