from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from padinv.exceptions import ConfigError
from padinv.ops import map_to_ring, pad_with_ring, ring_positions, ring_to_map

sizes = st.sampled_from([1, 2, 4, 8, 16])


@settings(deadline=None, max_examples=25)
@given(batch=st.integers(1, 3), channels=st.integers(1, 4), resolution=sizes)
def test_ring_and_map_are_inverses(batch: int, channels: int, resolution: int) -> None:
    ring = torch.randn(batch, channels, ring_positions(resolution))
    padded = ring_to_map(ring)
    assert torch.equal(map_to_ring(padded), ring)
    assert padded[..., 1:-1, 1:-1].abs().sum() == 0
    assert padded.count_nonzero() == ring.count_nonzero()


@settings(deadline=None, max_examples=25)
@given(resolution=sizes)
def test_positions_are_in_reading_order(resolution: int) -> None:
    padded = torch.arange((resolution + 2) ** 2).view(1, 1, resolution + 2, resolution + 2)
    ring = map_to_ring(padded)
    assert torch.equal(ring, ring.sort().values)
    assert ring.shape[-1] == ring_positions(resolution)


@pytest.mark.parametrize("resolution", [4, 8, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_zero_ring_is_zero_padding_bit_for_bit(resolution: int, dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, resolution, resolution, dtype=dtype)
    padded = pad_with_ring(x, torch.zeros(2, 3, ring_positions(resolution)))
    assert padded.dtype == dtype
    assert torch.equal(padded, F.pad(x, (1, 1, 1, 1)))


def test_arguments_are_not_written_to() -> None:
    x, ring = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 20)
    x_before, ring_before = x.clone(), ring.clone()
    pad_with_ring(x, ring).zero_()
    assert torch.equal(x, x_before)
    assert torch.equal(ring, ring_before)


def test_gradients() -> None:
    x = torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    ring = torch.randn(1, 2, 12, dtype=torch.float64, requires_grad=True)
    assert gradcheck(pad_with_ring, (x, ring))


def test_one_ring_serves_a_batch() -> None:
    ring = torch.randn(1, 2, 20)
    assert torch.equal(pad_with_ring(torch.zeros(3, 2, 4, 4), ring.expand(3, -1, -1))[2], ring_to_map(ring)[0])


@pytest.mark.parametrize("shape", [(1, 2, 19), (1, 3, 20), (1, 2, 36)])
def test_wrong_shapes_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"\(B, 2, 20\).*" + str(shape).replace("(", r"\(").replace(")", r"\)")):
        pad_with_ring(torch.zeros(1, 2, 4, 4), torch.zeros(shape))
