"""A test as an evaluation: what each process has seen of it, and what all of them together make of that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from padinv.evaluation.measuring import set_names
from padinv.evaluation.protocols import PROTOCOLS
from padinv.evaluation.results import COUNT, Evaluation, Sampling, Values, finish, set_distances
from padinv.exceptions import DataError
from padinv.images import to_image
from padinv.metrics.distribution import FeatureStore
from padinv.metrics.features import FeatureVectors, feature_network

T = TypeVar("T")


@dataclass
class KeptPictures:
    """Keeps the pictures of the images with the lowest and the highest values so far, and forgets the others.

    It is what a page needs of pairs (:class:`padinv.evaluation.pairs.Subject`) that are not files, as in a test.

    Args:
        count: how many are kept at either end.
        seen: images so far.
        kept: number of an image → its value, the photograph, and the reconstruction.

    >>> kept = KeptPictures(count=1)
    >>> kept.add(torch.tensor([0.3, 0.1, 0.2]), *torch.zeros(2, 3, 3, 4, 4))
    >>> kept.add(torch.tensor([0.0]), *torch.zeros(2, 1, 3, 4, 4))
    >>> sorted(kept.kept)
    [0, 3]
    """

    count: int = COUNT
    seen: int = 0
    kept: dict[int, tuple[float, Image.Image, Image.Image]] = field(default_factory=dict)

    def add(self, values: Tensor, made: Tensor, target: Tensor) -> None:
        """Adds images of a batch, (B,), and both (B, 3, H, W) in [-1, 1]."""
        values_of = {number: value for number, (value, _, _) in self.kept.items()}
        values_of |= {self.seen + place: value for place, value in enumerate(values.tolist())}
        chosen = self._chosen(values_of)
        self.kept = {number: entry for number, entry in self.kept.items() if number in chosen}
        for place in range(len(values)):
            if (number := self.seen + place) in chosen:
                self.kept[number] = (values_of[number], to_image(target[place]), to_image(made[place]))
        self.seen += len(values)

    def gathered(self) -> KeptPictures:
        """Those of all processes, one after the other, as their values are gathered."""
        whole = KeptPictures(self.count)
        for other in gathered(self):
            whole.kept |= {whole.seen + number: entry for number, entry in other.kept.items()}
            whole.seen += other.seen
        chosen = self._chosen({number: value for number, (value, _, _) in whole.kept.items()})
        whole.kept = {number: entry for number, entry in whole.kept.items() if number in chosen}
        return whole

    def _chosen(self, values: Mapping[int, float]) -> set[int]:
        order = sorted(values, key=lambda number: (math.isnan(values[number]), values[number], number))
        return {*order[: self.count], *order[-self.count :]}

    def pictures(self, index: int) -> tuple[Image.Image, list[Image.Image], Tensor | None]:
        """The photograph and its reconstruction.

        Raises:
            DataError: if they were not kept.
        """
        if index not in self.kept:
            raise DataError(f"image {index} is none of the best or the worst, whose pictures are kept")
        _, photograph, made = self.kept[index]
        return photograph, [made], None


class Trial:
    """What one process has seen of a test, a batch at a time.

    Args:
        resolution: side of the images, in pixels.
        features: network for distances between sets (:func:`padinv.metrics.features.feature_network`); None for none.
        device: the device of the images.

    Attributes:
        pictures: the best and the worst images.
    """

    def __init__(self, resolution: int, features: str | None, device: torch.device) -> None:
        self.resolution = resolution
        self.pictures = KeptPictures()
        self.names: list[str] = []
        self.vectors: FeatureVectors | None = None
        self.set_names: tuple[str, ...] = ()
        if features is not None:
            network, label = feature_network(features)
            self.vectors, self.set_names = FeatureVectors(network, resolution).to(device), set_names(label)
        self.stores = FeatureStore(), FeatureStore()

    def add(self, values: Tensor, made: Tensor, target: Tensor, names: Sequence[str] | None) -> None:
        """Adds a batch.

        Args:
            values: (B,), which order the pictures.
            made: reconstructions (B, 3, H, W) in [-1, 1].
            target: photographs, likewise.
            names: the names of the photographs; they are numbered if not given.
        """
        self.pictures.add(values, made, target)
        self.names += names or [f"image-{len(self.names) + place}" for place in range(len(target))]
        for store, images in zip(self.stores, (target, made), strict=True):
            if self.vectors is not None:
                store.append(self.vectors(images))

    def finish(self, values: Mapping[str, Values]) -> Evaluation:
        """What all processes have seen, with intervals; :attr:`pictures` are then those of all, too.

        Args:
            values: metric → a number for each image of all processes, one process after the other.
        """
        self.pictures = self.pictures.gathered()
        photographs, made = (np.concatenate(gathered(np.asarray(store.read()))) for store in self.stores)
        sets = set_distances(self.set_names, photographs, made, Sampling())
        names = list(chain(*gathered(self.names)))
        return finish(values, "test", PROTOCOLS["default"], self.resolution, names, Sampling(), sets=sets)


def gathered(own: T) -> list[T]:
    """What each process of a distributed run has; only one's own without others."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [own]
    every: list[T] = [own] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(every, own)
    return every
