"""The order of images: a pure function of the seed, the epoch and the place in it.

It does not depend on the number of workers or processes: process r of W takes the places r, r + W, ... of one global
order, so that the batches of all processes together are the batch of a single process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, DistributedSampler

from padinv.exceptions import ConfigError, DataError


class Position(NamedTuple):
    """How far training has come: counted in images over all processes, so that it outlives a change of batch size."""

    epoch: int = 0
    offset: int = 0


class TrainSampler(DistributedSampler[tuple[int, bool]]):
    """An endless stream of shuffled epochs, given out a Lightning epoch at a time.

    The places of an epoch are filled by a permutation and by coin flips drawn from (seed, epoch). A global batch never
    straddles two epochs: an incomplete last one is dropped. An iteration gives ``length // global batch`` batches from
    ``position`` on, which the loader moves as it hands batches out. (A sampler runs ahead of training, by what workers
    prefetch.) From position 0, that is exactly one epoch; after a run was resumed with another batch size, or with a
    limit on the batches an epoch, Lightning's epochs and the stream's differ, and no image is lost or repeated.

    It is a ``DistributedSampler`` so that Lightning leaves it in its place.

    Args:
        length: number of images.
        batch_size: number of images in a batch of each process.
        num_replicas: number of processes, W.
        rank: number of this process.
        seed: seeds order and flips.
        flip: whether to mirror half of the images.
        start: the place to begin at.

    Raises:
        ConfigError: if there are fewer images than a global batch has.

    >>> sampler = TrainSampler(6, batch_size=2, flip=False)
    >>> sorted(number for number, flip in sampler)
    [0, 1, 2, 3, 4, 5]
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        num_replicas: int = 1,
        rank: int = 0,
        seed: int = 0,
        flip: bool = True,
        start: Position = Position(),  # noqa: B008 - immutable
    ) -> None:
        places = cast("Dataset[Any]", range(length))  # DistributedSampler only asks for its length
        super().__init__(places, num_replicas, rank, shuffle=True, seed=seed, drop_last=True)
        self.length = length
        self.batch_size = batch_size
        self.global_batch = batch_size * num_replicas
        self.flip = flip
        self.position = self.previous = start
        if length < self.global_batch:
            raise ConfigError(
                f"batch_size={batch_size} on {num_replicas} process(es) needs {self.global_batch} images to train on, "
                f"and there are {length}: lower batch_size"
            )

    def __len__(self) -> int:
        return self.length // self.global_batch * self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Does nothing: the stream knows its epoch, and Lightning's count differs once a run was stopped inside one."""

    def __iter__(self) -> Iterator[tuple[int, bool]]:
        position, drawn = self.position, -1
        for _ in range(self.length // self.global_batch):
            epoch, offset = self._begin(position)
            if epoch != drawn:
                (order, flips), drawn = self._draw(epoch), epoch
            for place in range(offset + self.rank, offset + self.global_batch, self.num_replicas):
                yield int(order[place]), bool(flips[place])
            position = Position(epoch, offset + self.global_batch)

    def advance(self) -> None:
        """Counts a global batch as handed out."""
        epoch, offset = self._begin(self.position)
        self.previous, self.position = self.position, Position(epoch, offset + self.global_batch)

    def _begin(self, position: Position) -> Position:
        fits = position.offset + self.global_batch <= self.length
        return position if fits else Position(position.epoch + 1, 0)

    def _draw(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        random = np.random.default_rng((self.seed, epoch))
        order = random.permutation(self.length)
        flips = random.integers(2, size=self.length, dtype=np.bool_) if self.flip else np.zeros(self.length, np.bool_)
        return order, flips


class EvalSampler(DistributedSampler[int]):
    """Every image once, in order, divided over the processes; none is repeated to make shares equal.

    Args:
        length: number of images.
        num_replicas: number of processes.
        rank: number of this process.

    Raises:
        DataError: if there are fewer images than processes.

    >>> list(EvalSampler(5, num_replicas=2, rank=1))
    [1, 3]
    """

    def __init__(self, length: int, num_replicas: int = 1, rank: int = 0) -> None:
        super().__init__(cast("Dataset[Any]", range(length)), num_replicas, rank, shuffle=False)
        if length < num_replicas:
            raise DataError(f"{length} image(s) cannot be divided over {num_replicas} processes: use fewer devices")
        self.share = range(rank, length, num_replicas)

    def __len__(self) -> int:
        return len(self.share)

    def __iter__(self) -> Iterator[int]:
        return iter(self.share)
