"""Tables with entries for photographs, found by the ends of paths and refused where the end is ambiguous."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias, TypeVar

from padinv.exceptions import DataError
from padinv.sources.finding import is_code

Value = TypeVar("Value")

Parts: TypeAlias = tuple[str, ...]
Rank: TypeAlias = tuple[bool, int, bool]
"""How well an entry fits: whether the file's whole name agrees, not only its stem; how many parts of the path do;
whether these are all of the entry."""

MOST_LISTED = 3
"""The number of names in a message."""


class Table(dict[str, Value]):
    r"""Entries by the names of photographs.

    A photograph's entry is the one whose name has the most in common with the end of its path: of ``one/0001.jpg`` and
    ``two/0001.jpg`` the first is for ``/data/one/0001.jpg``. At least the file's own name must be the same; the entry
    may leave out its suffix. An entry that names no folder is preferred to one that names other folders. If two entries
    fit equally well, or one entry fits two photographs, nothing is taken. Accents may be composed or decomposed (NFC,
    NFD), and folders separated by ``\`` or ``/``.

    Args:
        entries: the entries.
        source: what messages call the table.
        names: all photographs that are looked up, so that an entry that belongs to another one is recognised. Saved
            codes are found by the names of their photographs, without the suffix.

    >>> table = Table({"one/1.jpg": 1, "two/1.jpg": 0}, "labels.csv", ["/d/one/1.jpg", "/d/two/1.jpg"])
    >>> table.find("/d/one/1.jpg"), table.find("/d/two/1.jpg"), table.find("/d/one/2.jpg")
    (1, 0, None)
    """

    def __init__(self, entries: Mapping[str, Value], source: str = "landmarks", names: Iterable[str] = ()) -> None:
        super().__init__(entries)
        self.source = source
        self._ends: dict[bool, dict[tuple[Parts, bool], list[str]]] = {}
        self._owners: dict[str, tuple[Rank, dict[Parts, str]]] = {}
        for name in names:
            for key, rank in self._best(name):
                best, owners = self._owners.get(key, (rank, {}))
                if rank > best:
                    best, owners = rank, {}
                if rank == best and len(owners) <= MOST_LISTED:
                    owners.setdefault(_parts(name), name)
                self._owners[key] = best, owners

    def among(self, names: Iterable[str]) -> Table[Value]:
        """Makes the same table for these photographs."""
        return Table(self, self.source, names)

    def find(self, name: str) -> Value | None:
        """Finds the entry of a photograph, None if there is none.

        Raises:
            DataError: if it cannot be told which of several it is, or whose.
        """
        best = self._best(name)
        if not best:
            return None
        if len(best) > 1:
            keys = sorted(key for key, _ in best)
            raise DataError(
                f"{self.source} has several entries that could be meant by {name}, {_listed(keys)}: name there the "
                "folders, too, in which it is."
            )
        key, rank = best[0]
        most, owners = self._owners.get(key, (rank, {}))
        if most > rank:
            return None  # it belongs to another photograph, which it fits better
        own = _parts(name)
        if rivals := [other for parts, other in owners.items() if parts != own] if most == rank else []:
            raise DataError(
                f"{self.source} has one entry, {key}, for {_listed([name, *rivals])}: name there the folders, too, one "
                "entry for each."
            )
        return self[key]

    def entry(self, name: str) -> Value:
        """Finds the entry of a photograph, which must be there.

        Raises:
            DataError: if there is none, or it cannot be told which it is.
        """
        if (value := self.find(name)) is None:
            raise DataError(f"{self.source} has no entry for {name}: add {Path(name).name!r}.")
        return value

    def _best(self, name: str) -> list[tuple[str, Rank]]:
        """Finds the keys that fit best, and how well."""
        own = _parts(name)
        if not own:
            return []
        # A code stands for a photograph of any kind; the entry of a photograph may leave out its suffix.
        other = (False, own) if is_code(name) else (True, (*own[:-1], _stem(own[-1])))
        for exact, (same, parts) in ((True, (True, own)), (False, other)):
            if same not in self._ends:
                self._ends[same] = self._index(same)
            for count in range(len(parts), 0, -1):
                for whole in (True, False):
                    if keys := self._ends[same].get((parts[-count:], whole)):
                        return [(key, (exact, count, whole)) for key in keys]
        return []

    def _index(self, same: bool) -> dict[tuple[Parts, bool], list[str]]:
        """Maps each end of a key, and whether it is the whole key, to the keys with it, as many as a message lists."""
        ends: dict[tuple[Parts, bool], list[str]] = {}
        for key in self:
            if parts := _parts(key):
                known = parts if same else (*parts[:-1], _stem(parts[-1]))
                for count in range(1, len(parts) + 1):
                    keys = ends.setdefault((known[-count:], count == len(parts)), [])
                    if len(keys) <= MOST_LISTED:
                        keys.append(key)
        return ends


def _parts(name: str) -> Parts:
    """Splits a path into parts in one spelling; of a saved code, the path of its photograph without a suffix."""
    parts = unicodedata.normalize("NFC", os.fspath(name).strip()).replace("\\", "/").split("/")
    named = tuple(part for part in parts if part not in ("", ".", ".."))
    if named and is_code(named[-1]):
        return (*named[:-1], _stem(named[-1]))
    return named


def _stem(name: str) -> str:
    stem, dot, _ = name.rpartition(".")
    return stem if dot else name


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:MOST_LISTED])
    return f"{shown} and others" if len(names) > MOST_LISTED else shown
