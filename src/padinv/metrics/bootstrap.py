"""Intervals of means over images, by the percentile bootstrap (Efron 1979).

The same number of images is drawn with replacement, thousands of times. The spread of these draws' means tells how far
the mean would move with other images of the same kind. Two methods measured on the same images are compared image by
image, since an image that is hard for one is hard for the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from padinv.exceptions import ConfigError, DataError

DRAWS_AT_ONCE = 2**16
"""Numbers that are drawn at once: as many as stay in a processor's cache, which takes a third of the time."""


class Interval(NamedTuple):
    """A mean and the interval around it.

    Attributes:
        mean: over the images themselves.
        low: lower end.
        high: upper end.
    """

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval leaves out zero, so that a difference shows."""
        return self.low > 0 or self.high < 0


def bootstrap_interval(
    values: Sequence[float] | np.ndarray[Any, Any], resamples: int = 10_000, seed: int = 0, level: float = 0.95
) -> Interval:
    """The mean of values, one for each image, and its percentile bootstrap interval.

    Args:
        values: (N,), such as the squared error of each image.
        resamples: how often N images are drawn.
        seed: seeds the draws; the same seed and N give the same draws.
        level: the share of the draws' means that the interval holds.

    Returns:
        The mean and the interval. One image tells nothing of others: its interval is as wide as the numbers are.

    Raises:
        DataError: if there are no values, or some are not finite.
        ConfigError: if an option is out of range.

    >>> bootstrap_interval([0.25, 0.25, 0.25])
    Interval(mean=0.25, low=0.25, high=0.25)
    """
    numbers = _check(values, "values")
    if resamples < 1 or not 0 < level < 1:
        raise ConfigError(f"resamples must be 1 or more and level between 0 and 1, not {resamples} and {level}.")
    if len(numbers) == 1:
        return Interval(float(numbers[0]), -np.inf, np.inf)
    random = np.random.default_rng(seed)
    means = np.empty(resamples)
    rows = min(max(1, DRAWS_AT_ONCE // len(numbers)), resamples)
    drawn = np.empty((rows, len(numbers)))
    for start in range(0, resamples, rows):
        part = means[start : start + rows]
        chosen = random.integers(0, len(numbers), (len(part), len(numbers)))
        numbers.take(chosen, out=drawn[: len(part)], mode="clip").mean(axis=1, out=part)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    mean = float(numbers.mean())
    # The mean of equal numbers can differ from them in the last bit, and would lie outside.
    return Interval(mean, min(float(low), mean), max(float(high), mean))


def paired_difference(
    values: Sequence[float] | np.ndarray[Any, Any],
    reference: Sequence[float] | np.ndarray[Any, Any],
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The mean of values - reference, image by image, and its bootstrap interval.

    Args:
        values: (N,), one for each image.
        reference: (N,), another method's for the same images in the same order.
        resamples: how often N images are drawn.
        seed: seeds the draws.
        level: the share of the draws' means that the interval holds.

    Raises:
        DataError: if there are not as many values of both, or as there.
        ConfigError: as there.

    >>> paired_difference([1.0, 2.0, 3.0], [0.5, 1.5, 2.5])
    Interval(mean=0.5, low=0.5, high=0.5)
    """
    ours, theirs = _check(values, "values"), _check(reference, "reference")
    if len(ours) != len(theirs):
        raise DataError(f"A paired difference needs the same images: there are {len(ours)} values, and {len(theirs)}.")
    return bootstrap_interval(ours - theirs, resamples, seed, level)


def _check(values: Sequence[float] | np.ndarray[Any, Any], name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The values as an array (N,) of float64."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers):
        raise DataError(f"{name} must be one number for each image, (N,) with N of 1 or more, not {numbers.shape}.")
    if not np.isfinite(numbers).all():
        raise DataError(f"{name} has {int((~np.isfinite(numbers)).sum())} numbers that are not finite.")
    return numbers
