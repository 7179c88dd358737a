"""Images in folders, and what folders and archives have in common."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePath
from typing import overload

import numpy as np

from padinv.exceptions import DataError
from padinv.images import FORMATS, read_bytes

IMAGE_SUFFIXES = frozenset(chain(*FORMATS.values()))
"""Endings of images in a folder or a zip file, in lower case."""

COMPANIONS = frozenset(
    f".{kind}"
    for kinds in (
        ("txt", "csv", "tsv", "json", "jsonl", "yaml", "yml", "toml", "xml", "md", "html", "htm", "pdf", "log", "ini"),
        ("xls", "xlsx", "doc", "docx", "db", "lnk", "url", "xmp", "aae", "py", "sh", "ipynb"),
        ("safetensors", "npy", "npz", "pt", "pth", "pkl", "onnx"),
    )
    for kind in kinds
)
"""Files that often lie beside images: they are left out without a word."""


class FilesLeftOutWarning(UserWarning):
    """Warns that files in a folder or archive are not read, although the user may have meant them."""


class LeftOut:
    """Counts the files of a folder or an archive that are not read."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, name: str) -> None:
        """Counts a file by the end of its name, unless it is a companion of images."""
        if (suffix := PurePath(name).suffix.lower()) not in COMPANIONS:
            self.counts[(suffix or "without an ending") + " in ../" * (".." in PurePath(name).parts)] += 1

    def __str__(self) -> str:
        """The remark: "3 files are left out: 2 .heic, 1 .mov"; empty if none are."""
        if not (total := self.counts.total()):
            return ""
        kinds = [f"{count} {kind}" for kind, count in self.counts.most_common(6)]
        more = "" if len(self.counts) <= 6 else " and others"
        mend = "; save HEIC as JPEG" if {".heic", ".heif", ".hif"} & set(self.counts) else ""
        return f"{total} file{' is' if total == 1 else 's are'} left out: {', '.join(kinds)}{more}{mend}"


class Names(Sequence[str]):
    """An immutable list of strings, kept as one bytes object and one array of ends.

    A Python list of a million paths is a million objects of a hundred bytes each. Whoever reads them changes their
    reference counts, so that each worker process ends up with its own copy. Here a string costs its own bytes and eight
    more, and nobody writes to the two buffers: forked workers share them.

    Args:
        names: any strings, also with bytes that are no UTF-8 (``os.fsdecode``); consumed once, one at a time.

    >>> names = Names(f"{i}.png" for i in range(100))
    >>> names[7], names[-1], len(names), names.nbytes
    ('7.png', '99.png', 100, 1398)
    """

    def __init__(self, names: Iterable[str]) -> None:
        text, ends = bytearray(), array("q", [0])
        for name in names:
            text += name.encode("utf-8", "surrogateescape")
            ends.append(len(text))
        self._text = bytes(text)
        self._ends = np.array(ends, dtype=np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes in memory: those of the strings, 8 for each of them, and 8."""
        return len(self._text) + self._ends.nbytes

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]  # raises IndexError, and counts from the end, as a list does
        return self._text[self._ends[i] : self._ends[i + 1]].decode("utf-8", "surrogateescape")


class Members:
    """What folders and archives have in common: images with names below one path.

    Args:
        path: the folder or archive.

    Attributes:
        names: of the images.
        left_out: what lies beside them and is not read.
    """

    names: Names

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.left_out = LeftOut()

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """The image's path, ``folder/file`` or ``archive.zip/member``."""
        return f"{self.path}/{self.names[index]}"


class FolderSource(Members):
    """The image files of a folder and its subfolders, in sorted order.

    Hidden files and folders are left out; links are followed, to each folder once.

    Args:
        root: the folder.
        names: paths relative to it, when they are known.

    Raises:
        DataError: if the folder cannot be listed.
    """

    def __init__(self, root: Path, names: Names | None = None) -> None:
        super().__init__(root)
        try:
            self.names = names if names is not None else Names(_walk(self.path, "", set(), self.left_out))
        except OSError as error:
            raise DataError(f"{error.filename} cannot be listed: {error.strerror}") from error

    def read(self, index: int) -> bytes:
        """The file's bytes."""
        return read_bytes(self.name(index))


def _walk(folder: str, prefix: str, seen: set[tuple[int, int]], left_out: LeftOut) -> Iterator[str]:
    """Paths of images, relative to the first folder. Memory holds the names of the folders that are being listed."""
    status = Path(folder).stat()
    here = (status.st_dev, status.st_ino)
    if here in seen:  # links can lead in circles, and to each folder in very many ways
        return
    seen.add(here)
    with os.scandir(folder) as entries:
        found = sorted((e.name, _kind(e)) for e in entries if is_visible(e.name))
    for name, kind in found:
        if kind == FILE and is_image(name):
            yield prefix + name
        elif kind == FILE:
            left_out.add(name)
        elif kind != FOLDER:
            left_out.counts[kind] += 1
    for name, kind in found:
        if kind == FOLDER:
            try:
                yield from _walk(f"{folder}/{name}", f"{prefix}{name}/", seen, left_out)
            except OSError as error:  # such as lost+found, which only root may read
                left_out.counts[f"folder {prefix}{name} ({error.strerror})"] += 1


FOLDER, FILE, NEITHER, NOWHERE = "folder", "file", "pipe, socket or device", "link to nowhere"


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return FOLDER
        if entry.is_file():
            return FILE
        return NOWHERE if entry.is_symlink() and not Path(entry.path).exists() else NEITHER
    except OSError:  # a link to itself
        return NOWHERE


def is_visible(name: str) -> bool:
    """Whether a file or folder is not hidden, and not what macOS adds to zip files."""
    return not name.startswith((".", "__MACOSX"))


def is_image(name: str) -> bool:
    """Whether a file has the suffix of an image."""
    return name.lower().endswith(tuple(IMAGE_SUFFIXES))
