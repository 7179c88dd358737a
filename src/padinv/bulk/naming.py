"""What the results of each photograph are called: names that every file system takes, and no two of which meet."""

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
"""Of a result's name: file systems allow 255, and a suffix follows."""

UNFIT = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
"""What some file system or terminal does not take: Windows' own characters, controls, and bytes that are no UTF-8."""

DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names that mean a device on Windows, whatever ending they have."""

RESULT_SUFFIX = re.compile(r"\.(png|safetensors)_*$", re.IGNORECASE)
"""How the files of results end, or what :func:`names_of_faces` has made of that."""


def output_names(paths: Sequence[str], recorded: Mapping[str, str]) -> dict[str, str]:
    """Names the results of each photograph, without a suffix, so that no two share one.

    The name is the file's own: ``trip/lincoln.jpg`` becomes ``lincoln``. Photographs that would then share a name are
    told apart by their suffix (``lincoln.jpg``, ``lincoln.png``), or else by the folders that they are in
    (``trip-lincoln``, ``home-lincoln``). Upper and lower case are the same, and so are the ways to write an accent, as
    on many file systems.

    Args:
        paths: of the photographs, absolute, each once.
        recorded: path → name of the photographs that already have results in the folder; they keep theirs, and no
            other gets it. The names of the others do not depend on how many of these paths are recorded.

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
    """What the results of each face of a photograph are called: its own name if there is one, else files in a folder.

    That folder never has the name of a file of another photograph's results, which end in a suffix.

    >>> names_of_faces("us", 1), names_of_faces("us", 2), names_of_faces("us.png", 2)
    (['us'], ['us/1', 'us/2'], ['us.png_/1', 'us.png_/2'])
    """
    if faces == 1:
        return [name]
    folder = f"{name}_" if RESULT_SUFFIX.search(name) else name
    return [f"{folder}/{number}" for number in range(1, faces + 1)]


def is_name(text: str) -> bool:
    """Whether a text can be a name of results: it leads nowhere but to a file in the folder."""
    return bool(text) and not text.startswith(".") and not UNFIT.search(text) and len(os.fsencode(text)) < 240


def same_file(name: str) -> str:
    """Equal for names that are one file on a file system that ignores case and how accents are written."""
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
    for number in count():  # what is left differs in nothing that a name may hold
        text = f"{path}\0{number}" if number else path
        yield _clean(f"{whole}~{sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}")


def _clean(name: str) -> str:
    """What every file system takes: nothing unfit, hidden or reserved, and not too long."""
    name = UNFIT.sub("_", name)
    name = name.encode()[-MAX_NAME_BYTES:].decode(errors="ignore")
    name = re.sub(r"^\.|[. ]$", "_", name)
    return f"_{name}" if DEVICES.match(name) else name
