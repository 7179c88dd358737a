"""Many strings in little memory: the index that every data source is built on."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np


class Names(Sequence[str]):
    """An immutable list of strings, kept as one bytes object and one array of ends.

    A Python list of a million paths is a million objects of a hundred bytes each, and reading them changes their
    reference counts, so that every worker process ends up with a copy of its own. Here a string costs its own bytes
    and eight more, and the two buffers are never written to: forked workers share them.

    Args:
        names: Consumed once, one at a time; any string, also one with bytes that are no UTF-8 (`os.fsdecode`).

    Example:
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
        """Bytes of text and ends: the lengths of the strings, and 8 for each (and 8)."""
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
