"""Images in folders, and what all sources ask of a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from padinv.data.names import Names
from padinv.exceptions import DataError
from padinv.images import read_bytes

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
"""What counts as an image in a folder or a zip file, upper or lower case; every other file is ignored."""


class FolderSource:
    """The image files of a folder and its subfolders, in sorted order.

    Hidden files and folders are left out; links are followed.

    Args:
        root: The folder.
        names: Paths relative to it, when they are known.

    Raises:
        DataError: A folder cannot be listed.
    """

    def __init__(self, root: Path, names: Names | None = None) -> None:
        self.root = str(root)
        try:
            self.names = names if names is not None else Names(_walk(self.root, "", frozenset()))
        except OSError as error:
            raise DataError(f"{error.filename} cannot be listed: {error.strerror}") from error

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """The file's path."""
        return f"{self.root}/{self.names[index]}"

    def read(self, index: int) -> bytes:
        """The file's bytes."""
        return read_bytes(self.name(index))


def _walk(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """Paths of images, relative to the first folder; a folder's names are in memory while it is listed, not longer."""
    status = Path(folder).stat()
    here = (status.st_dev, status.st_ino)
    if here in above:  # a link back to a folder that we are in
        return
    with os.scandir(folder) as entries:
        visible = sorted((e.name, e.is_dir()) for e in entries if is_visible(e.name) and (e.is_dir() or e.is_file()))
    yield from (prefix + name for name, is_dir in visible if not is_dir and is_image(name))
    for name, is_dir in visible:
        if is_dir:
            yield from _walk(f"{folder}/{name}", f"{prefix}{name}/", above | {here})


def is_visible(name: str) -> bool:
    """Whether a file or folder is meant to be seen: not hidden, nor what macOS adds to zip files."""
    return not name.startswith((".", "__MACOSX"))


def is_image(name: str) -> bool:
    """Whether a file's suffix is an image's."""
    return name.lower().endswith(tuple(IMAGE_SUFFIXES))
