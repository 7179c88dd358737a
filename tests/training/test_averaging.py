from __future__ import annotations

import pytest
import torch
from torch import nn

from padinv.training.alternating import average_decay, update_average


@pytest.mark.parametrize("batches", [1, 4, 10])
def test_half_is_left_after_the_half_life(batches: int) -> None:
    assert average_decay(32, 32 * batches, images_seen=0) ** batches == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("seen", "half_life"), [(0, 0), (160, 8), (20_000, 1000), (50_000, 1000)], ids=["start", "ramp", "end", "after"]
)
def test_ramp_up(seen: int, half_life: float) -> None:
    decay = average_decay(16, 1000, seen, ramp_up=0.05)
    assert decay == pytest.approx(0.5 ** (16 / half_life) if half_life else 0.0)


def test_parameters_are_averaged_and_buffers_copied() -> None:
    average, network = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        network.weight.fill_(5.0)
        network.running_mean.fill_(5.0)
    update_average(average.requires_grad_(False), network, 0.75)
    assert average.weight.tolist() == [2.0, 2.0]
    assert average.running_mean.tolist() == [5.0, 5.0]
    assert network.weight.tolist() == [5.0, 5.0]
