"""Distances between two sets of images in the features of a network, and how far another sample would move them.

Fréchet (Heusel et al. 2017): d² = ‖μ - μ'‖² + Tr(Σ + Σ' - 2·(Σ·Σ')^½). Kernel (Bińkowski et al. 2018): the unbiased
squared maximum mean discrepancy under k(x, y) = (x·y / D + 1)³.

Features are kept in a file, so that memory does not grow with the number of images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from tempfile import TemporaryFile, gettempdir
from typing import Any, TypeAlias
from weakref import finalize

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from padinv.exceptions import DataError

Features: TypeAlias = NDArray[np.floating]
"""(N, D)"""

ROWS = 1024
"""Features that are read at once."""

MOST_IN_A_SUBSET = 1000
"""Larger subsets say the same of the spread, and take longer."""


class FeatureStore:
    """Keeps vectors in a temporary file, which goes away with it.

    >>> import torch
    >>> store = FeatureStore()
    >>> store.append(torch.ones(2, 3))
    >>> store.append(torch.zeros(1, 3))
    >>> store.read().shape
    (3, 3)
    """

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115 (it lives as long as the store)
        finalize(self, self._file.close)
        self._width = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, vectors: Tensor) -> None:
        """Adds vectors (B, D), as float32.

        Raises:
            DataError: if there is no room for them.
        """
        rows = vectors.detach().float().cpu().numpy()
        try:
            self._file.write(np.ascontiguousarray(rows).tobytes())
            self._file.flush()
        except OSError as error:
            raise DataError(
                f"Features cannot be kept in {gettempdir()} ({error.strerror}): make room there, or set TMPDIR."
            ) from error
        self._count, self._width = self._count + len(rows), rows.shape[1]

    def read(self) -> Features:
        """All vectors (N, D), read from the file where they are used."""
        if not self._count:
            return np.zeros((0, self._width), np.float32)
        return np.memmap(self._file, np.float32, "r", shape=(self._count, self._width))


def frechet_distance(a: Features, b: Features) -> float:
    """The Fréchet distance of the normal distributions with the means and covariances of both.

    The trace of (Σ·Σ')^½ is the sum of the singular values of A·Bᵀ for any A, B with AᵀA = Σ, BᵀB = Σ'. Unlike the
    eigenvalues of Σ·Σ' these are exact for fewer vectors than numbers in each, too.

    Args:
        a: (N, D), N at least 2.
        b: (M, D), M at least 2.

    >>> rows = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    >>> round(frechet_distance(rows, rows + 1), 6)  # the means differ by (1, 1)
    2.0
    """
    (mean_a, root_a, trace_a), (mean_b, root_b, trace_b) = _moments(a), _moments(b)
    shared = float(np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum())
    return max(0.0, float(np.square(mean_a - mean_b).sum()) + trace_a + trace_b - 2 * shared)


def _moments(rows: Features) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Mean (D,), a root A of the covariance with AᵀA = Σ, and the covariance's trace."""
    count, width = rows.shape
    mean = sum(part.astype(np.float64).sum(axis=0) for part in parts_of(rows)) / count
    if count <= width:
        root = (np.asarray(rows, np.float64) - mean) / math.sqrt(count - 1)
        return mean, root, float(np.square(root).sum())
    covariance = sum((part - mean).T @ (part - mean) for part in parts_of(rows)) / (count - 1)
    values, vectors = np.linalg.eigh(covariance)
    return mean, np.sqrt(values.clip(0))[:, None] * vectors.T, float(np.trace(covariance))


def parts_of(rows: NDArray[Any]) -> list[NDArray[Any]]:
    """Rows (N, …), a thousand at a time."""
    return [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]


def kernel_distance(a: Features, b: Features) -> float:
    """The unbiased squared maximum mean discrepancy under the cubic kernel: near 0, and as often below as above, if
    both sets come from one distribution.

    Args:
        a: (N, D), N at least 2.
        b: (M, D), M at least 2.
    """  # noqa: D205 (one sentence)

    def total(x: Features, y: Features) -> float:
        return sum(float(((part.astype(np.float64) @ y.T / y.shape[1] + 1) ** 3).sum()) for part in parts_of(x))

    def own(x: Features) -> float:  # without the pairs of a vector with itself
        diagonal = sum(float(((np.square(part, dtype=np.float64).mean(axis=1) + 1) ** 3).sum()) for part in parts_of(x))
        return (total(x, x) - diagonal) / (len(x) * (len(x) - 1))

    return own(a) + own(b) - 2 * total(a, b) / (len(a) * len(b))


def mean_kernel_distance(a: Features, b: Features, seed: int = 0, subsets: int = 100) -> float:
    """:func:`kernel_distance`; of more than 1,000 pairs the mean over seeded subsets of 1,000, as KID is published."""
    if len(a) <= MOST_IN_A_SUBSET:
        return kernel_distance(a, b)
    random = np.random.default_rng(seed)

    def draw(rows: Features) -> Features:  # each set by itself: pairs drawn together would lower the distance
        return rows[np.sort(random.choice(len(rows), MOST_IN_A_SUBSET, replace=False))]

    return float(np.mean([kernel_distance(draw(a), draw(b)) for _ in range(subsets)]))


def subset_interval(
    statistic: Callable[[NDArray[np.int64]], float],
    value: float,
    count: int,
    width: int,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """An interval of a distance between paired sets, from seeded random subsets drawn without replacement.

    A bootstrap would repeat vectors, which raises these distances. A subset of m of N has a larger distance, too, but
    only its spread is used: that of N vectors is √(m / (N - m)) times that of the subsets around all N, which is 1 for
    halves (Politis and Romano 1994). Bounds are those of the normal distribution.

    Args:
        statistic: the distance of the pairs with these numbers.
        value: the distance of all of them.
        count: the number N of pairs.
        width: numbers in each vector, which tells how long one distance takes.
        seed: seeds the draws.
        level: how often the interval should hold the expected value.

    Returns:
        The lower and the upper bound; both NaN for fewer than 4 pairs.
    """
    size = min(count // 2, MOST_IN_A_SUBSET)
    if size < 2:
        return math.nan, math.nan
    random = np.random.default_rng(seed)
    draws = 100 if min(size, width) <= 300 else 25  # each takes a second then
    found = [statistic(np.sort(random.choice(count, size, replace=False))) for _ in range(draws)]
    spread = float(np.std(found, ddof=1)) * math.sqrt(size / (count - size))
    reach = NormalDist().inv_cdf(0.5 + level / 2) * spread
    return value - reach, value + reach
