"""A folder of results: files that are whole or not there, and a record of what is done.

``images/NAME.png``, ``grids/NAME.png``, ``codes/NAME.safetensors``, with alignment ``photographs/NAME.png``, and one
line of ``metrics.jsonl`` for each photograph. Each process writes its lines to a shard of its own, which is
``metrics-RANK.jsonl``; the first one merges them when all are through. Whoever opens the folder reads shards that an
interrupted run left.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path, PurePath
from tempfile import TemporaryFile
from typing import Any, TypeAlias
from uuid import uuid4

from padinv.bulk.inputs import is_code
from padinv.exceptions import ConfigError

SUFFIXES = {"images": ".png", "grids": ".png", "photographs": ".png", "codes": ".safetensors"}
"""Kind of result, which is its subfolder → suffix of its files."""

PICTURES = ("grid.png", "directions.png", "interpolation.gif")
"""Results beside them that could be taken for photographs."""

Record: TypeAlias = dict[str, Any]
"""A line of ``metrics.jsonl``: "photograph", then "name", metrics and "settings", or "error"."""


def digest(settings: Mapping[str, Any]) -> str:
    """Names settings, which must be JSON: what is equal has the same 16 hexadecimal digits.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


class OutputFolder:
    """The results of one command on many photographs.

    Args:
        path: the folder; it is made when the first result is written.
        kinds: of :data:`SUFFIXES`, the files that each photograph gets.

    Raises:
        ConfigError: if nothing can be written there.
    """

    def __init__(self, path: Path, kinds: Iterable[str]) -> None:
        self.path = path
        self.kinds = tuple(kinds)
        self._check_writable()
        self.records: dict[str, Record] = {}
        for file in [path / "metrics.jsonl", *sorted(path.glob("metrics-*.jsonl"))]:
            self.records |= {record["photograph"]: record for record in _read(file)}

    def _check_writable(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise ConfigError(
                f"Nothing can be written to {self.path} ({error.strerror}); choose another folder with --output."
            ) from error

    @property
    def names(self) -> dict[str, str]:
        """Photograph → name, of all that have results here."""
        return {path: record["name"] for path, record in self.records.items() if "name" in record}

    def file(self, kind: str, name: str) -> Path:
        """Where a result is."""
        return self.path / kind / f"{name}{SUFFIXES[kind]}"

    def owns(self, path: str) -> bool:
        """Whether a file, given by its absolute path, is where results go."""
        root = os.path.abspath(self.path)  # noqa: PTH100 (it keeps links, as the names of photographs do)
        if not PurePath(path).is_relative_to(root):
            return False
        first, *rest = PurePath(path).relative_to(root).parts
        return first in self.kinds if rest else first in PICTURES

    def is_done(self, photograph: str, settings: str) -> bool:
        """Whether all files of a photograph are there, made with these settings.

        Raises:
            ConfigError: if they were made with others.
        """
        record = self.records.get(photograph, {})
        if "name" not in record:
            return False
        if record["settings"] != settings:
            raise ConfigError(
                f"{self.path} holds results for {photograph} of another command, model or options; choose another "
                "--output, or give --overwrite to replace them."
            )
        return all(
            self.file(kind, name).is_file()
            for kind in self.kinds
            if not (kind == "photographs" and is_code(photograph))  # there is none to paste into
            for name in self.names_of_faces(record["name"], 1 if kind == "photographs" else record["faces"])
        )

    @staticmethod
    def names_of_faces(name: str, faces: int) -> list[str]:
        """What the results of each face of a photograph are called, its own name if there is only one.

        >>> OutputFolder.names_of_faces("us", 1), OutputFolder.names_of_faces("us", 2)
        (['us'], ['us/1', 'us/2'])
        """
        return [name] if faces == 1 else [f"{name}/{number}" for number in range(1, faces + 1)]

    def write(self, target: Path, write: Callable[[Path], object]) -> Path:
        """Writes a file by ``write(path)``, such that it is there as a whole or not at all.

        Args:
            target: the file, in this folder.
            write: is given another path, which has the same suffix.

        Returns:
            The target.

        Raises:
            ConfigError: if it cannot be written.
        """
        part = self.path / f".part-{uuid4().hex}{target.suffix}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write(part)
            return part.replace(target)
        except OSError as error:
            raise ConfigError(f"{target} cannot be written ({error.strerror or error}).") from error

    def shard(self, rank: int) -> Path:
        """Where a process adds its records."""
        return self.path / f"metrics-{rank:03d}.jsonl"

    def add(self, record: Record, rank: int = 0) -> None:
        """Adds a record to the shard of a process."""
        finite = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in record.items()}
        with self.shard(rank).open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(finite))  # the break first: an interrupted run may have left half a line

    def merge(self) -> None:
        """Makes one ``metrics.jsonl`` of it and all shards, a line for each photograph, sorted by photograph."""
        shards = sorted(self.path.glob("metrics-*.jsonl"))
        for shard in shards:
            self.records |= {record["photograph"]: record for record in _read(shard)}
        part = self.path / "metrics.jsonl.part"
        part.write_text("".join(json.dumps(self.records[path]) + "\n" for path in sorted(self.records)), "utf-8")
        part.replace(self.path / "metrics.jsonl")
        for done in [*shards, *self.path.glob(".part-*")]:  # these are what an interrupted run was at
            done.unlink()


def _read(file: Path) -> list[Record]:
    """The records of a file that may be missing, or end in the middle of a line."""
    records = []
    for line in file.read_text("utf-8").splitlines() if file.is_file() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and "photograph" in record:
            records.append(record)
    return records
