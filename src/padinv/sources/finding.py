"""Finds the photographs that a command is given."""

from __future__ import annotations

import glob
import re
import zipfile
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from padinv.exceptions import DataError
from padinv.files import local_path
from padinv.sources.folders import FolderSource, Names, is_image
from padinv.sources.opening import BUNDLED, ConcatSource, Source, open_source, warn

LATENT_SUFFIXES = (".pt", ".npy", ".npz")
"""Endings of codes that other tools have saved, in lower case (:mod:`padinv.inversion.latents`)."""

CODE_SUFFIXES = (".safetensors", *LATENT_SUFFIXES)
"""Endings of saved codes, padinv's own and those of other tools, in lower case."""


def find_photographs(arguments: Sequence[str], codes: bool = False, remark: Callable[[str], object] = warn) -> Source:
    """Finds the photographs that a command line names.

    Args:
        arguments: files, folders (searched recursively), patterns such as ``photos/**/*.jpg``, zip files, LMDB
            directories or names of bundled data sets. A pattern works quoted, and on Windows, whose shell leaves it to
            the program. A file whose own name looks like a pattern is taken for the file.
        codes: whether saved codes may be among them; a folder without images then stands for the codes in it.
        remark: is told what is left out of folders and zip files; it warns if not given.

    Returns:
        Their encoded bytes, which are read when asked for. A named file that does not exist is among them, unless none
        exists: the read reports it, as any other unreadable file.

    Raises:
        DataError: if a folder has no images, a pattern matches nothing, or not one of the files exists.
    """
    paths = [path for argument in arguments for path in _expand(argument)]
    if not any(Path(path).exists() or path in BUNDLED for path in paths):
        raise DataError(f"There is no file {paths[0]!r}" + (", nor any other of those given." if paths[1:] else "."))
    sources: list[Source] = []
    for folder, group in groupby(paths, lambda path: None if holds_several(path) else Path(path).parent):
        if folder is None:
            sources += [_open(path, codes, remark) for path in group]
        else:
            sources.append(FolderSource(folder, Names(Path(path).name for path in group)))
    return sources[0] if len(sources) == 1 else ConcatSource(sources)


def _expand(argument: str) -> list[str]:
    """The paths that an argument stands for; only a pattern stands for several."""
    if is_url(argument):
        raise DataError(f"{argument} is a URL, and photographs are not fetched: download it, and give the file.")
    if argument == "-":
        raise DataError("Photographs are not read from standard input: give a file. One called - is ./-.")
    path = local_path(argument, DataError)
    if not is_pattern(argument):
        return [str(path)]
    if found := sorted(glob.glob(str(path), recursive=True)):  # noqa: PTH207 (pathlib has none for absolute patterns)
        return found
    raise DataError(f"No file matches {argument!r}.")


def holds_several(path: str) -> bool:
    """Whether a path holds several images: a folder, a zip file, or a bundled data set."""
    target = local_path(path, DataError)
    return target.is_dir() or _is_zip(target) or (path in BUNDLED and not target.exists())


def is_pattern(path: str) -> bool:
    """Whether a path is a pattern such as ``photos/*.jpg``, and not a file with that name."""
    return glob.has_magic(path) and not local_path(path, DataError).exists()


def is_url(path: str) -> bool:
    """Whether a path begins as a URL does."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path) is not None


def _is_zip(path: Path) -> bool:
    """Whether a file is a zip by its name, or, if the name tells nothing, by its content."""
    if path.suffix.lower() == ".zip" or is_image(path.name) or is_code(path.name) or not path.is_file():
        return path.suffix.lower() == ".zip"
    return zipfile.is_zipfile(path)


def _open(path: str, codes: bool, remark: Callable[[str], object]) -> Source:
    try:
        return open_source(path, remark)
    except DataError:
        folder = Path(path)
        files = (
            [*folder.glob("*"), *folder.glob("*/*")] if codes and folder.is_dir() else []
        )  # several faces have a folder of their own
        found = sorted(file.relative_to(folder).as_posix() for file in files if is_code(file.name))
        if not found:
            raise
        return FolderSource(folder, Names(found))


def is_code(path: str) -> bool:
    """Whether a path names a saved code."""
    return path.lower().endswith(CODE_SUFFIXES)
