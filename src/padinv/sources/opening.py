"""Opens sources of encoded images: folders, zip files, LSUN's LMDB directories, or several of them.

A source is a list of encoded images that is cheap to hold and to send to a worker process: compact arrays, and no open
file. Each read opens the file, takes one image and closes the file: 10 microseconds for a zip file and 75 for LMDB,
where decoding takes thousands. So nothing has to survive a fork or a spawn, and two splits can share an LMDB directory,
which LMDB forbids for handles that stay open.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import numpy as np

from padinv.exceptions import DataError
from padinv.files import local_path
from padinv.images import is_image_file
from padinv.sources.archives import LmdbSource, ZipSource
from padinv.sources.folders import IMAGE_SUFFIXES, FilesLeftOutWarning, FolderSource, LeftOut, Names

BUNDLED = {
    "congress64-train": "congress64-train.zip",
    "congress64-val": "congress64-val.zip",
}
"""Data set → file in ``padinv/assets``. Provenance and licences: ``provenance.csv`` inside each zip, and NOTICE."""


def bundled_path(name: str) -> Path:
    """The zip file of a bundled data set, which is a key of ``BUNDLED``.

    >>> bundled_path("congress64-val").name
    'congress64-val.zip'
    """
    return Path(str(files("padinv") / "assets" / BUNDLED[name]))


class Source(Protocol):
    """A list of encoded images."""

    left_out: LeftOut
    """Files beside them that the user may have meant."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """The image's path; inside a container, ``container/member``."""

    def read(self, index: int) -> bytes:
        """The encoded image.

        Raises:
            DataError: if the container is damaged there, or the image is unreasonably large; gives the reason only.
            OSError: if the file cannot be read.
        """


def warn(text: str) -> None:
    """Warns of what is left out, for the function that called the one that calls this."""
    warnings.warn(text, FilesLeftOutWarning, stacklevel=4)


def open_source(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], remark: Callable[[str], object] = warn
) -> Source:
    """The images under a path, or under several, one after the other.

    Args:
        paths: a folder (searched recursively), a zip file, an LSUN LMDB directory, an image file, the name of a
            bundled data set (``BUNDLED``), or a list of these.
        remark: is told what is left out of a folder or an archive; it gives a ``FilesLeftOutWarning`` if not given.

    Raises:
        DataError: if a path does not exist, is of another kind, is damaged, or has no images.
        MissingPackageError: if a path is an LMDB directory, and the package ``lmdb`` is not installed.
    """
    if isinstance(paths, (str, os.PathLike)):
        return _open_one(paths, remark)
    sources = [_open_one(path, remark) for path in paths]
    return sources[0] if len(sources) == 1 else ConcatSource(sources)


def _open_one(path: str | os.PathLike[str], remark: Callable[[str], object]) -> Source:
    target = local_path(path, DataError)
    if not target.exists():
        if str(path) not in BUNDLED:
            raise DataError(f"{path} does not exist, nor is it a bundled data set ({', '.join(BUNDLED)})")
        target = bundled_path(str(path))
    source: Source
    if target.is_dir():
        source = LmdbSource(target) if (target / "data.mdb").is_file() else FolderSource(target)
    elif not target.is_file():
        raise DataError(
            f"{path} is a pipe, a socket or a device: give a folder, an image, a zip file or an LMDB directory"
        )
    elif target.suffix.lower() in IMAGE_SUFFIXES or is_image_file(target):
        source = FolderSource(target.parent, Names([target.name]))
    else:
        source = ZipSource(target)
    if not len(source):
        but = f"; {text}" if (text := str(source.left_out)) else ""
        raise DataError(
            f"no images under {path}: looked for {', '.join(sorted(IMAGE_SUFFIXES))}, in subfolders too{but}"
        )
    if text := str(source.left_out):
        remark(f"{path}: {text}")
    return source


class ConcatSource:
    """Several sources, one after the other.

    Args:
        sources: at least one.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)
        self.left_out = LeftOut()  # each source has told what it leaves out
        self._ends = np.cumsum([len(source) for source in sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _locate(self, index: int) -> tuple[Source, int]:
        which = int(np.searchsorted(self._ends, index, side="right"))
        return self.sources[which], index - (int(self._ends[which - 1]) if which else 0)

    def name(self, index: int) -> str:
        """The name in the source that holds the image."""
        source, local = self._locate(index)
        return source.name(local)

    def read(self, index: int) -> bytes:
        """The bytes from the source that holds the image."""
        source, local = self._locate(index)
        return source.read(local)
