"""Which photographs a command is given, and what each one's results are called."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from pathlib import Path, PurePath

from padinv.data.bundled import BUNDLED
from padinv.data.files import FolderSource
from padinv.data.names import Names
from padinv.data.sources import ConcatSource, Source, open_source
from padinv.exceptions import DataError

CODE_SUFFIX = ".safetensors"
"""What tells a saved code from a photograph."""

MAX_NAME_BYTES = 200
"""Of a result's name: file systems allow 255, and a suffix follows."""


def find_photographs(arguments: Sequence[str], codes: bool = False) -> Source:
    """Finds the photographs that a command line names.

    Args:
        arguments: files, folders (searched recursively), patterns such as ``photos/**/*.jpg``, zip files, LMDB
            directories or names of bundled data sets. A pattern works quoted, and on Windows, whose shell leaves it to
            the program. A file whose very name looks like a pattern is taken for the file.
        codes: whether saved codes may be among them; a folder without images then stands for the codes in it.

    Returns:
        Their encoded bytes, read when asked for. A file that is named and does not exist is among them, unless none
        does: it is reported when it is read, like any other unreadable one.

    Raises:
        DataError: if a folder has no images, a pattern matches nothing, or not one of the files exists.
    """
    paths = [path for argument in arguments for path in _expand(argument)]
    if not any(Path(path).exists() or path in BUNDLED for path in paths):
        raise DataError(f"There is no file {paths[0]!r}" + (", nor any other of those given." if paths[1:] else "."))
    sources: list[Source] = []
    for folder, group in groupby(paths, _folder_of_file):
        if folder is None:
            sources += [_open(path, codes) for path in group]
        else:
            sources.append(FolderSource(folder, Names(Path(path).name for path in group)))
    return sources[0] if len(sources) == 1 else ConcatSource(sources)


def _expand(argument: str) -> list[str]:
    """The paths behind an argument, of which there is more than one only for a pattern."""
    path = Path(argument).expanduser()
    if path.exists() or not glob.has_magic(argument):
        return [str(path)]
    if found := sorted(glob.glob(str(path), recursive=True)):  # noqa: PTH207 (pathlib has none for absolute patterns)
        return found
    raise DataError(f"No file matches {argument!r}.")


def _folder_of_file(path: str) -> Path | None:
    """The folder of a single file; None for what holds several images."""
    target = Path(path)
    holds_several = target.is_dir() or target.suffix.lower() == ".zip" or (path in BUNDLED and not target.exists())
    return None if holds_several else target.parent


def _open(path: str, codes: bool) -> Source:
    try:
        return open_source(path)
    except DataError:
        folder = Path(path)
        found = sorted(file.name for file in folder.glob(f"*{CODE_SUFFIX}")) if codes and folder.is_dir() else []
        if not found:
            raise
        return FolderSource(folder, Names(found))


def is_code(path: str) -> bool:
    """Whether a path is that of a saved code."""
    return path.lower().endswith(CODE_SUFFIX)


def output_names(paths: Sequence[str], recorded: Mapping[str, str]) -> dict[str, str]:
    """Names the results of each photograph, without a suffix, so that no two share one.

    The name is the file's own: ``trip/lincoln.jpg`` becomes ``lincoln``. Photographs that would then share a name are
    told apart by their suffix (``lincoln.jpg``, ``lincoln.png``), or else by the folders that they are in
    (``trip-lincoln``, ``home-lincoln``). Upper and lower case are the same, as on many file systems.

    Args:
        paths: of the photographs, absolute, each once.
        recorded: path → name of the photographs that already have results in the folder; they keep theirs, and no
            other gets it. The names of the others do not depend on how many of these paths are recorded.

    Returns:
        path → name, in the order of the paths.

    >>> output_names(["/a/1.jpg", "/b/1.jpg", "/b/2.jpg", "/b/2.png"], {})
    {'/a/1.jpg': 'a-1', '/b/1.jpg': 'b-1', '/b/2.jpg': '2.jpg', '/b/2.png': '2.png'}
    """
    owners = {name.casefold(): path for path, name in recorded.items()}
    names: dict[str, str] = {}
    candidates = {path: _candidates(path) for path in paths}
    while candidates:
        proposed = {path: next(options) for path, options in candidates.items()}
        wanted = Counter(name.casefold() for name in proposed.values())
        for path, name in proposed.items():
            if wanted[name.casefold()] == 1 and owners.setdefault(name.casefold(), path) == path:
                names[path] = name
                del candidates[path]
    return {path: recorded.get(path, names[path]) for path in paths}


def _candidates(path: str) -> Iterator[str]:
    """The names that a photograph could have, the best first, the last of which is no other's."""
    file = PurePath(path)
    folders = [part for part in file.parent.parts if part != file.anchor]
    yield _clean(file.stem)
    yield _clean(file.name)
    for depth in range(1, len(folders) + 1):
        yield _clean("-".join([*folders[-depth:], file.stem]))
    whole = _clean("-".join([*folders, file.name]))
    yield whole
    # What is left differs in nothing that a name may hold.
    yield f"{whole}~{sha256(os.fsencode(path)).hexdigest()[:8]}"


def _clean(name: str) -> str:
    """What every file system takes: no character that Windows reserves, and not too long."""
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name)
    while len(os.fsencode(name)) > MAX_NAME_BYTES:
        name = name[1:]
    return name
