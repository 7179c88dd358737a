"""The photographs of a command: finds them among other files and results, reads them, and holds their results."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b, sha256
from itertools import takewhile
from pathlib import Path

from PIL import Image
from torch import Tensor

from padinv.bulk.naming import output_names, same_file
from padinv.bulk.outputs import PICTURES, SUFFIXES, OutputFolder, read_records
from padinv.exceptions import ConfigError, DataError
from padinv.files import local_path
from padinv.images import decode_original, seen
from padinv.inversion import Inversion
from padinv.inversion.photographs import SMALLEST
from padinv.sources.finding import find_photographs, is_code
from padinv.sources.folders import FolderSource
from padinv.sources.opening import Source


@dataclass(frozen=True)
class Result:
    """The result for one face, or for the middle of one photograph.

    Args:
        inversion: of one image: the code and the image of the result, on the CPU.
        grid: the images that the result was made from, and the result, side by side, (3, H, W) in [0, 1].
        metrics: of the reconstruction; empty if the user gave a code.
    """

    inversion: Inversion
    grid: Tensor
    metrics: Mapping[str, float]


@dataclass
class Photograph:
    """One photograph, or saved code, which is found, then read, then done.

    Args:
        place: its number in the source.
        path: absolute; inside a container, ``container/member``.
        name: the name of its results.
        settings: a digest of the options on which its results depend; once it is read, that of its file is added.
        image: upright sRGB; None before it is read, and for a saved code, which is read where the generator is.
        original: the photograph in its own colours and with its transparency, if that differs
            (:func:`padinv.images.original`).
        remarks: sentences about it.
        results: one for each face.
        problem: a sentence that says why it could not be read or done; empty if it could.
        seconds: how long the networks took for it.
    """

    place: int
    path: str
    name: str
    settings: str = ""
    image: Image.Image | None = None
    original: Image.Image | None = None
    remarks: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()
    problem: str = ""
    seconds: float = 0.0


def search(
    arguments: Sequence[str], output: Path, remark: Callable[[str], object] | None = None
) -> tuple[Source, list[str]]:
    """Finds the photographs and saved codes that a command line names.

    A folder that holds only results stands for its codes.

    Args:
        arguments: what the user named (:func:`~padinv.bulk.find_photographs`).
        output: the folder for results, which need not exist.
        remark: called with what is left out of folders and zip files.

    Returns:
        The source of everything that was found, and the absolute path of each member. The path is "" for a member that
        the user does not mean: a result inside a folder that is searched for photographs.

    Raises:
        DataError: if there is nothing.
        ConfigError: if only results in ``output`` are found, or results would overwrite the user's own files.
    """
    arguments = [_codes_instead(argument) for argument in arguments]
    source = find_photographs(arguments, codes=True, remark=remark or (lambda _: None))
    results = _Results(output, arguments)
    paths = [_absolute(source.name(index)) for index in range(len(source))]
    own = {path for path in paths if results.are_own(path)}
    if own and (not read_records(output) or len(own) == len(set(paths))):
        raise ConfigError(f"{min(own)} is where results go: choose another --output than {output}.")
    meant = [path if path not in own and not results.were_found(path) else "" for path in paths]
    if not any(meant):
        raise DataError(f"{' '.join(arguments)} holds results of padinv, and no photographs: name a folder in it.")
    return source, meant


def photographs_of(paths: Sequence[str], folder: OutputFolder) -> list[Photograph]:
    """Lists the photographs to do, each once, with the names of their results.

    Args:
        paths: of the members of a source, "" for those to skip.
        folder: where results go.

    Raises:
        ConfigError: if a result would overwrite a photograph.
    """
    places = {path: place for place, path in reversed(list(enumerate(paths))) if path}
    names = output_names(sorted(places, key=lambda path: places[path]), folder.names)
    if "photographs" in folder.kinds:
        for name in names.values():
            target = _absolute(folder.file("photographs", name))
            if target in places or target in folder.records:
                raise ConfigError(f"{target} is where results go: choose another --output than {folder.path}.")
    return [Photograph(places[path], path, name) for path, name in names.items()]


class _Results:
    """Tells results from photographs.

    Args:
        output: where results go.
        arguments: what is searched. The user means results of another run only by naming their subfolder, or a file
            in it.
    """

    def __init__(self, output: Path, arguments: Sequence[str]) -> None:
        self.output = os.path.realpath(output)
        self.named = [os.path.realpath(_fixed_part(argument)) for argument in arguments]
        self._parts: dict[str, tuple[str, ...]] = {}
        self._runs: dict[str, tuple[set[str], set[str]]] = {}

    def are_own(self, path: str) -> bool:
        """Whether a file is in a place for results of this run."""
        return any(folder == self.output and self._made(folder, below, path) for folder, below in self._places(path))

    def were_found(self, path: str) -> bool:
        """Whether a file is a result of another run that the search found and the user did not name."""
        return any(
            self._made(folder, below, path) and not any(_is_meant(folder, below, named) for named in self.named)
            for folder, below in self._places(path)
        )

    def _places(self, path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The folders whose results the file could be, by its name, and the rest of its path in them."""
        folder, name = os.path.split(path)
        if folder not in self._parts:
            self._parts[folder] = Path(os.path.realpath(folder)).parts
        parts = (*self._parts[folder], name)
        for place, part in enumerate(parts):
            if part in (SUFFIXES if place < len(parts) - 1 else PICTURES):
                yield os.path.join(*parts[:place]), parts[place:]  # noqa: PTH118 (parts are strings)

    def _made(self, folder: str, below: tuple[str, ...], path: str) -> bool:
        """Whether a run has made the file, according to the records of the folder."""
        if folder not in self._runs:
            records = read_records(Path(folder))
            named = (f"{record['name']}{SUFFIXES['photographs']}" for record in records.values() if "name" in record)
            self._runs[folder] = set(records), set(map(same_file, named))
        photographs, names = self._runs[folder]
        if below[0] == "photographs":  # a user's own folder may have such a name, and have been inverted
            return path not in photographs and same_file("/".join(below[1:])) in names
        return bool(photographs) or folder == self.output


def _codes_instead(argument: str) -> str:
    """Replaces a folder that has nothing but results by its codes; returns any other argument unchanged."""
    folder = local_path(argument, DataError)
    if not (folder / "codes").is_dir() or not read_records(folder):
        return argument
    source = FolderSource(folder)
    results = _Results(folder, [argument])
    only = all(results.are_own(_absolute(source.name(index))) for index in range(len(source)))
    return str(folder / "codes") if only else argument


def _is_meant(folder: str, below: Sequence[str], named: str) -> bool:
    """Whether an argument names a file inside a folder of results, not only a folder around it."""
    return any(named == os.path.join(folder, *below[: depth + 1]) for depth in range(len(below)))  # noqa: PTH118


def _fixed_part(argument: str) -> Path:
    """The folder in which a pattern is searched; any other argument unchanged."""
    path = local_path(argument, DataError)
    if path.exists() or not glob.has_magic(argument):
        return path
    return Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 (it keeps links)


def content_of(source: Source, place: int) -> str:
    """A digest of a member's bytes; empty if it cannot be read."""
    try:
        return _digest(source.read(place))
    except (DataError, OSError):
        return ""


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=8).hexdigest()


def read(source: Source, photograph: Photograph) -> Photograph:
    """Reads one photograph into a copy; a saved code is read later, where the generator is."""
    if is_code(photograph.path):
        return replace(photograph, settings=f"{photograph.settings}-{content_of(source, photograph.place)}")
    remarks: list[str] = []
    try:
        content = source.read(photograph.place)
        photograph = replace(photograph, settings=f"{photograph.settings}-{_digest(content)}")
        original = decode_original(content, remark=remarks.append)
        image = seen(original)
        if min(image.size) < SMALLEST:
            raise DataError(f"it has {image.width}×{image.height} pixels, and the smallest has {SMALLEST}×{SMALLEST}")
    except DataError as error:
        return replace(photograph, problem=f"{photograph.path} cannot be read: {error}.")
    except OSError as error:
        return replace(photograph, problem=f"{photograph.path} cannot be read: {error.strerror or error}.")
    differs = original.mode != "RGB" or bool(original.info)
    sentences = tuple(f"{photograph.path}: {remark}." for remark in remarks)
    return replace(photograph, image=image, original=original if differs else None, remarks=sentences)


def read_reference(path: str, several: bool) -> tuple[list[Photograph], str]:
    """Reads the photographs or saved codes of a reference, with the SHA-256 of them all.

    Raises:
        DataError: if one cannot be read, or there are several and the task takes one.
    """
    source = find_photographs([_codes_instead(path)], codes=True)
    if len(source) != 1 and not several:
        raise DataError(f"{path} holds {len(source)} photographs, but one is needed here: give a file.")
    content, photographs = sha256(), []
    for place in range(len(source)):
        photograph = read(source, Photograph(place, _absolute(source.name(place)), ""))
        if photograph.problem:
            raise DataError(photograph.problem)
        content.update(source.read(place))
        photographs.append(photograph)
    return photographs, content.hexdigest()


def read_all(source: Source, photographs: Sequence[Photograph | None]) -> list[Photograph]:
    """Reads a batch in full size, since a face is looked for, and pasted back, there; leaves out what is None."""
    return [read(source, photograph) for photograph in photographs if photograph is not None]
