"""The photographs of a command as a data set; one that cannot be read is reported, not raised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image
from torch.utils.data import Dataset

from padinv.exceptions import DataError
from padinv.images import decode_original, seen
from padinv.inversion.photographs import SMALLEST
from padinv.sources.finding import is_code
from padinv.sources.opening import Source


class Photograph(NamedTuple):
    """One photograph, or saved code, of a command."""

    place: int
    """Its number in the source."""
    path: str
    """Absolute; inside a container, ``container/member``."""
    name: str
    """The name of its results."""
    settings: str = ""
    """A digest of the options on which its results depend."""


class Item(NamedTuple):
    """A photograph that was read, or what went wrong."""

    photograph: Photograph
    image: Image.Image | None = None
    """Upright sRGB; None if it could not be read, and for a saved code, which is read where the generator is."""
    problem: str = ""
    """A sentence that says why, if it could not be read."""
    original: Image.Image | None = None
    """The photograph in its own colours and with its transparency, if that differs (:func:`padinv.images.original`)."""
    remarks: tuple[str, ...] = ()
    """Remarks on it, in sentences."""


class PhotographDataset(Dataset[Item | None]):
    """Decodes photographs, in full size: a face is looked for, and pasted back, there.

    Args:
        source: the encoded photographs.
        photographs: which of them.
        at_least: the least length of the data set, filled up with None, since each process needs something to do.
    """

    def __init__(self, source: Source, photographs: Sequence[Photograph], at_least: int = 1) -> None:
        self.source = source
        self.photographs = photographs
        self.at_least = at_least

    def __len__(self) -> int:
        return max(self.at_least, len(self.photographs))

    def __getitem__(self, index: int) -> Item | None:
        if index >= len(self.photographs):
            return None
        photograph = self.photographs[index]
        return Item(photograph) if is_code(photograph.path) else read_item(self.source, photograph)


def read_item(source: Source, photograph: Photograph) -> Item:
    """Reads one photograph."""
    remarks: list[str] = []
    try:
        original = decode_original(source.read(photograph.place), remark=remarks.append)
        image = seen(original)
        if min(image.size) < SMALLEST:
            raise DataError(f"it has {image.width}×{image.height} pixels, and the smallest has {SMALLEST}×{SMALLEST}")
    except DataError as error:
        return Item(photograph, problem=f"{photograph.path} cannot be read: {error}.")
    except OSError as error:
        return Item(photograph, problem=f"{photograph.path} cannot be read: {error.strerror or error}.")
    differs = original.mode != "RGB" or bool(original.info)
    sentences = tuple(f"{photograph.path}: {remark}." for remark in remarks)
    return Item(photograph, image, original=original if differs else None, remarks=sentences)


def collate(items: Sequence[Item | None]) -> list[Item]:
    """Collects the items without stacking them, as photographs differ in size."""
    return [item for item in items if item is not None]
