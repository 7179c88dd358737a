from __future__ import annotations

import math

import numpy as np
import pytest

from padinv.exceptions import ConfigError, DataError
from padinv.metrics import bootstrap, bootstrap_interval, paired_difference


def test_the_interval_of_normal_numbers_is_that_of_theory() -> None:
    """Of N numbers with deviation σ the mean is within 1.96 · σ / √N in 95 of 100 cases."""
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    interval = bootstrap_interval(values)
    half = 1.96 * values.std() / math.sqrt(400)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_ninety_five_of_a_hundred_intervals_hold_the_true_mean() -> None:
    random = np.random.default_rng(2)
    held = sum(
        low <= 0.0 <= high
        for _, low, high in (bootstrap_interval(random.normal(size=60), resamples=500) for _ in range(300))
    )
    assert 0.90 <= held / 300 <= 0.98


def test_a_paired_difference_shows_what_the_spread_of_images_hides() -> None:
    random = np.random.default_rng(3)
    hard = random.exponential(1.0, 100)
    better = hard - 0.05 + random.normal(0, 0.01, 100)
    difference = paired_difference(better, hard)
    assert difference.excludes_zero
    assert difference.mean == pytest.approx(-0.05, abs=0.01)
    assert bootstrap_interval(better).high > bootstrap_interval(hard).low  # the means alone would not tell
    assert not paired_difference(hard, hard).excludes_zero


def test_a_level_is_wider_than_a_lower_one() -> None:
    values = np.random.default_rng(4).normal(size=50)
    wide, narrow = bootstrap_interval(values, level=0.99), bootstrap_interval(values, level=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_seeds_are_kept_and_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(size=30)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    at_once = bootstrap_interval(values, 100)
    monkeypatch.setattr(bootstrap, "DRAWS_AT_ONCE", 90)
    in_parts = bootstrap_interval(values, 100)
    assert in_parts == at_once


def test_one_image_tells_nothing_of_others() -> None:
    assert bootstrap_interval([0.5]) == (0.5, -math.inf, math.inf)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [[1.0, 2.0]]])
def test_values_that_are_none_are_refused(values: list[float]) -> None:
    with pytest.raises(DataError, match="values"):
        bootstrap_interval(values)


def test_options_out_of_range_and_unpaired_values_are_refused() -> None:
    with pytest.raises(ConfigError, match="level between 0 and 1, not 10000 and 95"):
        bootstrap_interval([1.0, 2.0], level=95)
    with pytest.raises(DataError, match="same images: there are 2 values, and 3"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
