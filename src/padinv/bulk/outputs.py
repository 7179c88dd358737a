"""A folder of results: files that are whole or absent, and a record of the photographs that are done.

It has ``images/NAME.png``, ``grids/NAME.png``, ``codes/NAME.safetensors``, with alignment ``photographs/NAME.png``, and
one line of ``metrics.jsonl`` for each photograph. Each process writes its lines to its own shard,
``metrics-RANK.jsonl``; the first process merges the shards when all are done. A folder that is opened also reads the
shards that an interrupted run has left.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeAlias

from padinv.bulk.lock import alone_in
from padinv.bulk.naming import is_name, names_of_faces, same_file
from padinv.exceptions import ConfigError
from padinv.files import NO_LINK, UNFINISHED, clear_unfinished, make_writable, writing
from padinv.options import plain
from padinv.sources.finding import is_code

SUFFIXES = {"images": ".png", "grids": ".png", "photographs": ".png", "codes": ".safetensors"}
"""Kind of result, which is its subfolder → suffix of its files."""

PICTURES = ("grid.png", "directions.png", "interpolation.gif")
"""Other results, which a search for photographs would find."""

MOST_FACES = 10_000
"""The most faces of a photograph in a record; a damaged record might name thousands of millions."""

Record: TypeAlias = dict[str, Any]
"""A line of ``metrics.jsonl``: "photograph", then "name", metrics and "settings", or "error"."""


def digest(settings: Mapping[str, Any]) -> str:
    """Names settings, which are JSON, by 16 hexadecimal digits; equal settings have the same name.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


class OutputFolder:
    """The results of one command on many photographs.

    Args:
        path: the folder; made if missing.
        kinds: of :data:`SUFFIXES`, the files that each photograph gets.

    Raises:
        ConfigError: if nothing can be written there.

    Attributes:
        records: of each photograph, by its path.
    """

    def __init__(self, path: Path, kinds: Iterable[str]) -> None:
        self.path = path
        self.kinds = tuple(kinds)
        make_writable(path, "choose another folder with --output")
        self.records = read_records(path)
        self._scratch: Path | None = None

    @contextmanager
    def many_files(self) -> Iterator[None]:
        """Speeds up the writing of many files: one folder holds all until they move to their places."""
        self._check_there()
        self._scratch = Path(mkdtemp(prefix=UNFINISHED, dir=self.path))
        try:
            yield
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Keeps other commands out (:func:`~padinv.bulk.lock.alone_in`), and reads the records of earlier commands."""
        with alone_in(self.path, what):
            self.records = read_records(self.path)
            yield

    @property
    def names(self) -> dict[str, str]:
        """Photograph → name, for all photographs whose results are here and belong to no other photograph."""
        named = {path: record["name"] for path, record in self.records.items() if "name" in record}
        owners = {same_file(name): path for path, name in reversed(named.items())}
        return {path: name for path, name in named.items() if owners[same_file(name)] == path}

    @property
    def names_of_results(self) -> list[str]:
        """The names of all results, sorted by photograph and face."""
        done = (self.records[path] for path in sorted(self.names))
        return [name for record in done for name in names_of_faces(record["name"], record["faces"])]

    def file(self, kind: str, name: str) -> Path:
        """The path of a result."""
        return self.path / kind / f"{name}{SUFFIXES[kind]}"

    def is_done(
        self, photograph: str, settings: str, name: str | None = None, content: Callable[[], str] | None = None
    ) -> bool:
        """Whether all files of a photograph are there, with these settings, and under this name if it is given.

        Args:
            photograph: its path.
            settings: the digest of the options; a record may add that of the photograph's file, behind a dash.
            name: of its results.
            content: computes the digest of the photograph's file, "" if it cannot be read; called only if the file is
                newer than its result.

        Raises:
            ConfigError: if they are there with other settings.
        """
        record = self.records.get(photograph, {})
        if "name" not in record or name not in (None, record["name"]):
            return False
        options, _, before = record["settings"].partition("-")
        if options != settings:
            raise ConfigError(
                f"{self.path} holds results for {photograph} of another command, model or options; choose another "
                "--output, or give --overwrite to replace them."
            )
        files = [
            self.file(kind, name)
            for kind in self.kinds
            if not (kind == "photographs" and is_code(photograph))  # a saved code has no photograph to paste into
            for name in names_of_faces(record["name"], 1 if kind == "photographs" else record["faces"])
        ]
        if not all(file.is_file() for file in files):
            return False
        if before and content is not None and _changed_at(photograph) > files[0].stat().st_mtime_ns:
            return content() in (before, "")  # a copy of the same file is newer, too, and no reason to work again
        return True

    def write(self, target: Path, write: Callable[[Path], object]) -> Path:
        """Writes a file of this folder by ``write(path)``, which gets another path with the same suffix.

        The file is whole or absent.

        Raises:
            ConfigError: if it cannot be written.
        """
        self._check_there()
        # Not durable: a record without its file does no harm.
        with writing(target, ConfigError, parents=True, durable=False, scratch=self._scratch) as path:
            write(path)
        return target

    def remove_other_faces(self, photograph: str, name: str, faces: int) -> None:
        """Removes an earlier run's results of a photograph, under this name, that has only so many faces now."""
        before = self.records.get(photograph, {})
        if before.get("name") == name:
            for other in set(names_of_faces(name, before["faces"])) - set(names_of_faces(name, faces)):
                for kind in ("images", "grids", "codes"):
                    self.file(kind, other).unlink(missing_ok=True)

    def _check_there(self) -> None:
        if not self.path.is_dir():
            raise ConfigError(f"{self.path} was removed while results were written there: give the same command again.")

    def shard(self, rank: int) -> Path:
        """The file to which a process adds its records."""
        return self.path / f"metrics-{rank:03d}.jsonl"

    def add(self, record: Record, rank: int = 0) -> None:
        """Adds a record to the shard of a process.

        Raises:
            ConfigError: if it cannot be written.
        """
        self._check_there()
        shard = self.shard(rank)
        try:
            with open(shard, "a", encoding="utf-8", opener=_open_no_link) as file:
                file.write(f"\n{json.dumps(plain(record))}")  # an interrupted run may have left half a line before
        except OSError as error:
            raise ConfigError(f"{shard} cannot be written ({error.strerror or error}).") from error

    def merge(self) -> None:
        """Merges all shards into ``metrics.jsonl``, a line for each photograph, sorted by photograph.

        Raises:
            ConfigError: if it cannot be written.
        """
        shards = list(self.path.glob("metrics-*.jsonl"))
        self.records = read_records(self.path)
        lines = "".join(json.dumps(plain(self.records[path])) + "\n" for path in sorted(self.records))
        self.write(self.path / "metrics.jsonl", lambda path: path.write_text(lines, "utf-8"))
        for shard in shards:
            shard.unlink(missing_ok=True)
        for place in [self.path, *(self.path / kind for kind in SUFFIXES), *self.path.glob("*/*/")]:
            clear_unfinished(place)  # what an interrupted run has left


def _changed_at(path: str) -> int:
    """When a file, or the archive that it is in, was written last, in ns; 0 if it has gone."""
    for place in (Path(path), *Path(path).parents):
        try:
            return place.stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            continue
    return 0


def read_records(folder: Path) -> dict[str, Record]:
    """Reads the records of a folder of results by the paths of photographs; of two records the later one counts.

    It ignores incomplete lines, as a killed process or a full disk leaves them, and those whose name leads out of the
    folder.
    """
    records: dict[str, Record] = {}
    for file in [folder / "metrics.jsonl", *sorted(folder.glob("metrics-*.jsonl"))]:
        records |= {record["photograph"]: record for record in _lines(file)}
    return records


def _lines(file: Path) -> Iterator[Record]:
    if not file.is_file():
        return
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if _is_record(record):
                yield record


def _is_record(value: Any) -> bool:
    """Whether a JSON value is a valid record of a photograph."""
    if not isinstance(value, dict) or not isinstance(value.get("photograph"), str):
        return False
    if "name" not in value:
        return isinstance(value.get("error"), str)
    name, faces, settings = (value.get(key) for key in ("name", "faces", "settings"))
    return (
        isinstance(name, str)
        and is_name(name)
        and isinstance(faces, int)
        and 1 <= faces <= MOST_FACES
        and isinstance(settings, str)
    )


def _open_no_link(path: str, flags: int) -> int:
    """Opens a regular file, never a link or a pipe of that name."""
    descriptor = os.open(path, flags | NO_LINK, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("there is something that is no file")
    return descriptor
