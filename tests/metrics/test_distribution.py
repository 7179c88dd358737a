from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from padinv.exceptions import DataError
from padinv.metrics.distribution import (
    FeatureStore,
    frechet_distance,
    kernel_distance,
    mean_kernel_distance,
    subset_interval,
)


def sets(count: int = 200, width: int = 16) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    a = random.normal(size=(count, width)) @ random.normal(size=(width, width))
    return a, a + 0.3 * random.normal(size=a.shape) + 0.1


def tensors(*rows: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(each).double() for each in rows]


@pytest.mark.parametrize("count", [10, 200])
def test_frechet_distance_is_torchmetrics(count: int) -> None:
    """With more vectors than numbers in each, and with fewer, where covariances are singular."""
    a, b = tensors(*sets(count))
    expected = _compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())
    assert frechet_distance(*sets(count)) == pytest.approx(expected.item(), rel=1e-5)


def test_frechet_distance_of_many_is_that_of_all_at_once() -> None:
    a, b = sets(2500, 8)
    expected = _compute_fid(*(part for rows in tensors(a, b) for part in (rows.mean(0), rows.T.cov())))
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-6)


def test_kernel_distance_is_torchmetrics() -> None:
    assert kernel_distance(*sets()) == pytest.approx(poly_mmd(*tensors(*sets())).item(), rel=1e-9)


def test_kernel_distance_of_many_is_near_that_of_all() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(1200, 4)), random.normal(size=(1200, 4)) + 0.5
    assert mean_kernel_distance(a, b, subsets=30) == pytest.approx(kernel_distance(a, b), rel=0.05)
    assert mean_kernel_distance(a, b, subsets=3) == mean_kernel_distance(a, b, subsets=3)


def test_subset_interval_has_the_width_that_other_samples_show() -> None:
    """The spread of the distance over independent samples, against what one sample says of it."""
    random = np.random.default_rng(1)

    def sample() -> tuple[np.ndarray, np.ndarray]:
        a = random.normal(size=(150, 3))
        return a, 1.5 * random.normal(size=(150, 3)) + 0.5

    spread = np.std([frechet_distance(*sample()) for _ in range(200)])
    widths = []
    for _ in range(12):
        a, b = sample()
        low, high = subset_interval(lambda rows, a=a, b=b: frechet_distance(a[rows], b[rows]), 0.0, 150, 3)
        widths.append((high - low) / 2 / 1.96)
    assert np.mean(widths) == pytest.approx(spread, rel=0.25)


def test_too_few_have_no_interval() -> None:
    assert np.isnan(subset_interval(lambda rows: 0.0, 1.0, 3, 8)).all()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_store_without_room() -> None:
    store = FeatureStore()
    with (
        Path("/dev/full").open("wb", buffering=0) as store._file,
        pytest.raises(DataError, match="make room there, or set TMPDIR"),
    ):
        store.append(torch.zeros(2, 3))


def test_store_keeps_vectors_in_a_file() -> None:
    store = FeatureStore()
    assert len(store.read()) == 0
    for start in range(0, 6, 2):
        store.append(torch.arange(start * 3, start * 3 + 6).reshape(2, 3))
    rows = store.read()
    assert isinstance(rows, np.memmap)
    assert rows.tolist() == np.arange(18).reshape(6, 3).tolist()
    del store
    assert rows.sum() == sum(range(18))
