"""Images as tensors, one by one and in batches. An unreadable file is reported, and training counts what it gets."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from padinv.data.sampler import TrainSampler
from padinv.exceptions import DataError
from padinv.images import ImageWarning, load_tensor
from padinv.sources.opening import Source

MAX_IN_A_ROW = 1000
"""After so many unreadable neighbours the search for a replacement ends."""


class Sample(NamedTuple):
    """One image, or the reason why there is none."""

    image: Tensor | None
    """float32 (3, R, R) in [-1, 1]; None if there was nothing to read."""
    name: str
    """Path of the image, or of its replacement."""
    problems: tuple[str, ...]
    """A sentence for each file that could not be read."""
    remarks: tuple[str, ...] = ()
    """Remarks on the image that was read, such as that its colour profile is damaged."""


class ImageDataset(Dataset[Sample]):
    """Images of a source, squared to one resolution.

    Args:
        source: the encoded images.
        resolution: R in pixels.
        indices: numbers of the source's images that belong to it; all by default.
        replace: puts the next readable image of the source in the place of an unreadable one, so that training batches
            are always full; otherwise the sample has no image.

    Indexing takes an image's number, or the pair ``(number, flip)``. It never raises for an unreadable file: a worker
    process hands the reason on as a value, from which ``ImageLoader`` makes the warning or the error.
    """

    def __init__(
        self, source: Source, resolution: int, indices: NDArray[np.integer[Any]] | None = None, replace: bool = False
    ) -> None:
        self.source = source
        self.resolution = resolution
        self.indices = indices
        self.replace = replace

    def __len__(self) -> int:
        return len(self.source) if self.indices is None else len(self.indices)

    def __getitem__(self, key: int | tuple[int, bool]) -> Sample:
        first, flip = key if isinstance(key, tuple) else (key, False)
        problems: list[str] = []
        for step in range(min(len(self), MAX_IN_A_ROW) if self.replace else 1):
            number = (first + step) % len(self)
            index = number if self.indices is None else int(self.indices[number])
            name = self.source.name(index)
            remarks: list[str] = []
            try:
                image = load_tensor(self.source.read(index), self.resolution, flip, remarks.append)
            except DataError as error:
                problems.append(f"{name} cannot be read: {error}")
            except OSError as error:
                problems.append(f"{name} cannot be read: {error.strerror or error}")
            else:
                return Sample(image, name, tuple(problems), tuple(f"{name}: {remark}" for remark in remarks))
        return Sample(None, self.source.name(index), tuple(problems))


class Collated(NamedTuple):
    """A batch inside the loader; what is handed out is an ``ImageBatch``."""

    image: Tensor
    name: list[str]
    problems: list[str]
    missing: int
    remarks: list[str]


def collate(samples: Sequence[Sample]) -> Collated:
    """Stacks the readable images, (B, 3, R, R); (0,) if there are none."""
    images = [sample.image for sample in samples if sample.image is not None]
    return Collated(
        torch.stack(images) if images else torch.empty(0),
        [sample.name for sample in samples if sample.image is not None],
        [problem for sample in samples for problem in sample.problems],
        len(samples) - len(images),
        [remark for sample in samples for remark in sample.remarks],
    )


class UnreadableImageWarning(UserWarning):
    """A file that could not be read was left out."""


class ImageBatch(TypedDict):
    """What a step is given."""

    image: Tensor
    """float32 (B, 3, R, R) in [-1, 1]."""
    name: list[str]
    """B paths; inside a container, ``archive.zip/member``."""


class ImageLoader(DataLoader[Sample]):
    """Batches of an ``ImageDataset``, as dicts ``{"image": (B, 3, R, R), "name": list[str]}``.

    A file that cannot be read is named in one warning, by the process that meets it, in the epoch that first meets it.
    In training, another image has taken its place, so all batches have the same size on all ranks. In evaluation the
    batch is shorter by it, and an empty batch is skipped.

    Args:
        dataset: the images.
        strict: whether such a file raises a DataError instead.
        **options: those of ``torch.utils.data.DataLoader``.

    Raises:
        DataError: while iterating, if a file cannot be read, with ``strict``; or if none could be read.
    """

    def __init__(self, dataset: ImageDataset, strict: bool = False, **options: Any) -> None:
        options.setdefault("collate_fn", collate)
        super().__init__(dataset, **options)
        self.strict = strict
        self._reported: set[str] = set()

    def __iter__(self) -> Iterator[ImageBatch]:  # type: ignore[override]  # DataLoader declares its private class
        return self._hand_out(super().__iter__())  # called at once: workers start to prefetch

    def _hand_out(self, batches: Iterable[Collated]) -> Iterator[ImageBatch]:
        problem = ""
        readable = False
        for batch in batches:
            problem = problem or next(iter(batch.problems), "")
            if batch.missing and self.dataset.replace:  # type: ignore[attr-defined]  # it is an ImageDataset
                raise DataError(f"no readable image was found to train on: {problem}")
            self._report(batch.problems)
            self._warn(batch.remarks, ImageWarning)
            if isinstance(self.sampler, TrainSampler):  # Lightning's overfit_batches replaces the sampler
                self.sampler.advance()
            if batch.name:
                readable = True
                yield {"image": batch.image, "name": batch.name}
        if problem and not readable:
            raise DataError(f"not one image could be read: {problem}")

    def _report(self, problems: Iterable[str]) -> None:
        for problem in problems:
            if self.strict:
                raise DataError(f"{problem}; strict=false skips such files")
            self._warn([f"{problem}; it is skipped"], UnreadableImageWarning)

    def _warn(self, texts: Iterable[str], category: type[Warning]) -> None:
        for text in texts:
            if text not in self._reported:
                self._reported.add(text)
                warnings.warn(text, category, stacklevel=4)

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing. Lightning takes a loader with these two methods for one that resumes inside an epoch.

        It does, by the position that ``ImageDataModule`` saves: Lightning restores a loader's own state only inside an
        epoch, but the module's always.
        """
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See ``state_dict``."""


def split(length: int, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divides a data set in two at random: the same two parts for the same arguments.

    Args:
        length: number of images.
        fraction: share of the second part, in (0, 1); it gets at least one image.
        seed: seeds the draw.

    Returns:
        The numbers in the first and in the second part, each sorted.

    Raises:
        DataError: if nothing would be left for the first part.

    >>> first, second = split(10, 0.2, seed=0)
    >>> len(first), len(second), sorted([*first, *second]) == list(range(10))
    (8, 2, True)
    """
    count = max(1, round(length * fraction))
    if count >= length:
        raise DataError(f"val_fraction={fraction} of {length} images leaves none to train on")
    order = np.random.default_rng(seed).permutation(length)
    return np.sort(order[count:]), np.sort(order[:count])
