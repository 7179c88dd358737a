"""Photographs and their reconstructions, matched by name, read a pair at a time."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from typing import Protocol as Interface

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from padinv.evaluation.groups import groups_of
from padinv.evaluation.protocols import PROTOCOLS, Protocol
from padinv.evaluation.results import Sampling
from padinv.exceptions import DataError
from padinv.images import decode, from_bytes, smaller_side
from padinv.metrics.per_image import mean_square
from padinv.sources.folders import Names
from padinv.sources.opening import Source

LARGEST = 256
"""Pixels of the side at which files are compared, unless another is asked for."""

HEADS = 32
"""Pairs, drawn from all, whose size is looked at first: to look takes as long as to read the file."""

SHOWN = 3
"""Names in a sentence about files that have no match."""


@dataclass(frozen=True)
class Pairs:
    """Which photograph belongs to which reconstruction.

    Args:
        photographs: their source.
        reconstructions: one source for each method that is compared.
        names: the names of the pairs.
        places: (N, 1 + methods), the numbers of photograph and reconstructions in their sources.
        remarks: sentences on what has no match.
    """

    photographs: Source
    reconstructions: tuple[Source, ...]
    names: Names
    places: NDArray[np.int64]
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.places)

    def read(self, index: int) -> tuple[Image.Image, list[Image.Image]]:
        """The photograph and its reconstructions, upright and 8-bit sRGB.

        Raises:
            DataError: if one cannot be read; it is named.
        """
        photograph, *made = [read_picture(source, at) for source, at in self._files(index)]
        return photograph, made

    def side(self, index: int) -> int:
        """The smallest side of the photograph and its reconstructions, in pixels, by the heads of their files.

        Raises:
            DataError: if one cannot be read; it is named.
        """
        sides = []
        for source, at in self._files(index):
            try:
                sides.append(smaller_side(source.read(at)))
            except (DataError, OSError) as error:
                raise _named(error, source, at, "cannot be read") from error
        return min(sides)

    def _files(self, index: int) -> Iterator[tuple[Source, int]]:
        sources = (self.photographs, *self.reconstructions)
        return zip(sources, map(int, self.places[index]), strict=True)


def read_picture(source: Source, index: int, told: str = "cannot be read") -> Image.Image:
    """A picture of a source, upright and 8-bit sRGB.

    Raises:
        DataError: if it cannot be read; the name, ``told`` and the reason.
    """
    try:
        return decode(source.read(index), remark=lambda _: None)
    except (DataError, OSError) as error:
        raise _named(error, source, index, told) from error


def _named(error: Exception, source: Source, index: int, told: str) -> DataError:
    return DataError(f"{source.name(index)} {told}: {getattr(error, 'strerror', None) or error}")


def match(photographs: Source, reconstructions: Sequence[Source]) -> Pairs:
    """Finds the reconstructions of each photograph by name: the path inside of the folder, without its ending.

    If paths do not agree, as with subfolders on one side only, the file's own name is looked for.

    Raises:
        DataError: if nothing matches, or two files of one folder have the same name but for the ending.
    """
    sources = [photographs, *reconstructions]
    names = [short_names(source) for source in sources]
    if not any(set(names[0]) & set(others) for others in names[1:]):
        names = [[name.rpartition("/")[2] for name in each] for each in names]
    own, *tables = (_unique(*each) for each in zip(names, sources, strict=True))
    common = [key for key in own if all(key in table for table in tables)]
    if not common:
        raise DataError(
            f"No reconstruction has the name of a photograph: there are {_some(list(own))}, and "
            f"{_some(list(tables[0]))}. padinv invert names them so."
        )
    remarks = []
    if without := [key for key in own if any(key not in table for table in tables)]:
        what = "reconstruction" if len(tables) == 1 else "reconstruction in both"
        remarks.append(f"{_count(without, 'photograph')} without a {what}, left out: {_some(without)}.")
    for table in tables:
        if extra := [key for key in table if key not in own]:
            remarks.append(f"{_count(extra, 'reconstruction')} without a photograph, left out: {_some(extra)}.")
    places = np.array([[own[key], *(table[key] for table in tables)] for key in common], dtype=np.int64)
    return Pairs(photographs, tuple(reconstructions), Names(common), places, tuple(remarks))


def short_names(source: Source) -> list[str]:
    """The path of each image below their common folder, without its ending."""
    names = [source.name(index).replace(os.sep, "/") for index in range(len(source))]
    common = os.path.commonpath([os.path.dirname(name) for name in names]) if names else ""  # noqa: PTH120
    return [os.path.splitext(name.removeprefix(common).lstrip("/"))[0] for name in names]  # noqa: PTH122


def _unique(names: Sequence[str], source: Source) -> dict[str, int]:
    """Name → number in the source."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        if (first := places.setdefault(name, place)) != place:
            raise DataError(
                f"{source.name(first)} and {source.name(place)} are both called {name}, by which pictures are matched: "
                "rename one."
            )
    return places


def _count(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}{'s' * (len(names) > 1)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


@dataclass(frozen=True)
class Sample:
    """One pair on its way to the metrics.

    Args:
        index: the number of the pair.
        views: for each method, view → the reconstruction and the photograph, (3, H, W).
        groups: division → group of the photograph.
        problem: a sentence that says why there are no views.
        mse: for each method, if nothing else is asked for: it is then measured where pictures are decoded, and these
            are not sent to another process, which takes as long as to decode them.
    """

    index: int
    views: list[dict[str, list[Tensor]]]
    groups: dict[str, str]
    problem: str = ""
    mse: list[float] | None = None


@dataclass(frozen=True)
class Batch:
    """Pairs together.

    Args:
        indices: the numbers of the pairs.
        views: for each method, view → the reconstructions and the photographs: stacked (B, 3, H, W), or lists of
            (3, H, W) where sizes differ.
        groups: division → group, for each photograph.
        problems: a sentence for each pair that could not be compared.
        mse: for each method the numbers of B pairs, if nothing else is asked for: plain numbers, since a tensor takes a
            file descriptor from process to process.
    """

    indices: list[int]
    views: list[dict[str, tuple[Images, Images]]]
    groups: list[dict[str, str]]
    problems: list[str]
    mse: list[list[float]] | None = None


Images: TypeAlias = Tensor | list[Tensor]


@dataclass(frozen=True)
class Settings:
    """How to evaluate.

    Args:
        protocol: makes pictures comparable.
        resolution: the side of what is compared, in pixels; the encoder's, or that of the files, if not given.
        sampling: how intervals are made.
        groups: whether results are told by group, too.
        batch_size: pairs that are measured at once.
        workers: processes that decode files; 0 for this one.
        measures: further arguments of :func:`~padinv.evaluation.measuring.build_measures`.
        mse_only: set by :func:`~padinv.evaluation.evaluate` if pairs may come as numbers instead of pictures.
    """

    protocol: Protocol = PROTOCOLS["default"]
    resolution: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    groups: bool = False
    batch_size: int = 16
    workers: int = 0
    measures: dict[str, Any] = field(default_factory=dict)
    mse_only: bool = False

    def views(self, photograph: Image.Image, made: Sequence[Image.Image]) -> list[dict[str, list[Tensor]]]:
        """Each reconstruction and the photograph, as :meth:`Protocol.prepare` makes them; the resolution is known."""
        assert self.resolution is not None
        return [self.protocol.prepare(photograph, one, self.resolution) for one in made]


class PairDataset(Dataset[Sample]):
    """Decodes pairs, and prepares them as a protocol has it.

    Args:
        pairs: all of them.
        settings: how they are prepared.
    """

    def __init__(self, pairs: Pairs, settings: Settings) -> None:
        self.pairs = pairs
        self.settings = settings

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """A pair; one that cannot be compared says why."""
        try:
            photograph, made = self.pairs.read(index)
            views = self.settings.views(photograph, made)
        except DataError as error:
            return Sample(index, [], {}, f"{self.pairs.names[index]} is left out: {error}.")
        groups = groups_of(photograph) if self.settings.groups else {}
        if self.settings.mse_only:
            sides = [view[self.settings.protocol.pixels] for view in views]
            errors = [float(mean_square(made[None], target[None])) for made, target in sides]
            return Sample(index, [], groups, mse=errors)
        return Sample(index, views, groups)


def collate(samples: Sequence[Sample]) -> Batch:
    """Stacks what can be stacked."""
    read = [sample for sample in samples if not sample.problem]
    stacked = [
        {name: _stack([sample.views[method][name] for sample in read]) for name in first}
        for method, first in enumerate(read[0].views if read else [])
    ]
    problems = [sample.problem for sample in samples if sample.problem]
    errors = [sample.mse for sample in read if sample.mse is not None]
    mse = [list(each) for each in zip(*errors, strict=True)] if errors else None
    return Batch([sample.index for sample in read], stacked, [sample.groups for sample in read], problems, mse)


def _stack(pairs: Sequence[Sequence[Tensor]]) -> tuple[Images, Images]:
    made, target = (_together([pair[side] for pair in pairs]) for side in (0, 1))
    return made, target


def _together(images: list[Tensor]) -> Images:
    if len({image.shape for image in images}) > 1:
        return images
    if len({image.dtype for image in images}) > 1:
        images = [from_bytes(image) for image in images]
    if images[0].is_contiguous():
        return torch.stack(images)
    return torch.stack([image.movedim(0, -1) for image in images]).movedim(-1, 1)  # as they lie in memory


class Pictures(Interface):
    """What has pictures of the images that were measured."""

    def pictures(self, index: int) -> tuple[Image.Image, list[Image.Image], Tensor | None]:
        """The photograph, its reconstructions, and a drawing (3, H, W) in [0, 1] of its code, if there is one."""


class Subject(Pictures, Interface):
    """What is evaluated: pairs from files, or made by a model."""

    methods: tuple[str, ...]
    """Names of the methods that are compared."""
    names: Sequence[str]
    """Of the photographs, without folder and ending."""
    facts: dict[str, Any]
    """What the JSON says of the method."""

    def resolution(self) -> int:
        """The side at which pictures are compared, unless another is asked for."""

    def batches(self, settings: Settings) -> Iterator[Batch]:
        """All pairs, in their order."""


class Files:
    """Pairs of files.

    Args:
        pairs: the pairs.
        methods: the names of the folders of reconstructions.
    """

    def __init__(self, pairs: Pairs, methods: Sequence[str]) -> None:
        self.pairs = pairs
        self.methods: tuple[str, ...] = tuple(methods)
        self.names: Sequence[str] = pairs.names
        self.facts: dict[str, Any] = {}

    def resolution(self) -> int:
        """The smaller side that more than half of the pairs have, 256 at most, which is what most encoders read.

        If there is none, it is the smallest, so that all can be compared. The names of files do not matter. Of many
        pairs, some that are drawn from all decide if two thirds of them have the same side.
        """
        if len(self.pairs) > HEADS:
            sides, _ = self._sides(random.Random(0).sample(range(len(self.pairs)), HEADS))  # names may have a period
            if sides and 3 * max(sides.values()) >= 2 * sides.total():
                return sides.most_common(1)[0][0]
        sides, problem = self._sides(range(len(self.pairs)))
        if not sides:
            raise DataError(f"{problem}, nor can others.")
        side, most = sides.most_common(1)[0]
        return side if 2 * most > sides.total() else min(sides)

    def _sides(self, places: Iterable[int]) -> tuple[Counter[int], str]:
        """How many pairs have each side, 256 at most, and why the first that cannot be read cannot."""
        sides: Counter[int] = Counter()
        problem = ""
        for place in places:
            try:
                sides[min(LARGEST, self.pairs.side(place))] += 1
            except DataError as error:
                problem = problem or str(error)
        return sides, problem

    def batches(self, settings: Settings) -> Iterator[Batch]:
        """All pairs, in their order, decoded by processes of their own if there are any."""
        dataset = PairDataset(self.pairs, settings)
        yield from DataLoader(dataset, settings.batch_size, num_workers=settings.workers, collate_fn=collate)

    def pictures(self, index: int) -> tuple[Image.Image, list[Image.Image], Tensor | None]:
        """The photograph and its reconstructions."""
        return *self.pairs.read(index), None
