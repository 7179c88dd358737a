"""The loader: it reports what it could not read, and counts what it gave to training."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any, TypedDict

from torch import Tensor
from torch.utils.data import DataLoader

from padinv.data.dataset import Collated, ImageDataset, Sample, collate
from padinv.data.sampler import TrainSampler
from padinv.exceptions import DataError
from padinv.images import ImageWarning


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
