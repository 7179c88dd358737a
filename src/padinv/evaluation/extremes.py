"""The best and the worst images of an evaluation: which they are, and their pictures, kept while others go by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from padinv.evaluation.results import Evaluation
from padinv.exceptions import DataError
from padinv.images import to_image

COUNT = 6
"""How many of the best, and of the worst, a page shows."""


def ordering_metric(names: Sequence[str]) -> str:
    """The metric that orders images: LPIPS if it was measured, or the first."""
    return "lpips" if "lpips" in names else names[0]


def extremes(result: Evaluation, count: int = COUNT) -> tuple[str, list[int], list[int]]:
    """The metric that orders images, and the places of those with the lowest and with the highest values."""
    metric = ordering_metric(list(result.values))
    order = np.argsort(result.values[metric], kind="stable")
    count = min(count, (len(order) + 1) // 2)
    return metric, order[:count].tolist(), order[::-1][:count].tolist()


@dataclass
class KeptPictures:
    """Keeps the pictures of the images with the lowest and the highest values so far, and forgets the others.

    It is what a page needs of pairs (:class:`padinv.evaluation.pairs.Subject`) that are not files, as in a test.

    Args:
        count: how many of each.
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

    methods: tuple[str, ...] = ("test",)

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

    def joined(self, others: Sequence[KeptPictures]) -> KeptPictures:
        """Those of several processes, one after the other, as all of their images are gathered."""
        whole = KeptPictures(self.count, methods=self.methods)
        for other in others:
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


def gathered(kept: KeptPictures) -> KeptPictures:
    """Those of all processes of a distributed run."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return kept
    every: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(every, kept)
    return kept.joined(every)
