from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from padinv.gan.module import mix_styles, path_lengths


@given(count=st.integers(1, 6), layers=st.integers(2, 8), probability=st.floats(0, 1), seed=st.integers(0, 99))
def test_mixed_latents_are_one_samples_then_the_others(count: int, layers: int, probability: float, seed: int) -> None:
    torch.manual_seed(seed)
    mixed = mix_styles(torch.zeros(count, layers, 3), torch.ones(count, layers, 3), probability)
    assert mixed.shape == (count, layers, 3)
    assert not mixed[:, 0].any()
    assert (mixed.diff(dim=1) >= 0).all()  # once changed, it stays so
    assert torch.equal(mixed[..., 0], mixed[..., 1])  # latents are taken whole


def test_probability_of_mixing_and_where_it_begins() -> None:
    torch.manual_seed(0)
    one, other = torch.zeros(4000, 5, 1), torch.ones(4000, 5, 1)
    assert not mix_styles(one, other, 0.0).any()
    shares = mix_styles(one, other, 0.8).squeeze(2).mean(dim=0)
    torch.testing.assert_close(shares, torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8]), atol=0.03, rtol=0)


def test_path_lengths_of_a_linear_generator() -> None:
    """If each pixel is the sum of a·w, then Jᵀy = a·Σy in each layer."""
    w_plus = torch.randn(2, 4, 3, requires_grad=True)
    scale = torch.tensor(3.0, requires_grad=True)
    images = (scale * w_plus).sum(dim=(1, 2))[:, None, None, None].expand(-1, 3, 2, 2)
    torch.manual_seed(0)
    lengths = path_lengths(images, w_plus)
    torch.manual_seed(0)
    expected = (torch.randn(2, 3, 2, 2) / 2).sum(dim=(1, 2, 3)).abs() * 3 * 3**0.5  # √(H·W) = 2; three values of a = 3
    torch.testing.assert_close(lengths, expected)
    (gradient,) = torch.autograd.grad(lengths.sum(), scale)
    assert gradient.item() == pytest.approx(expected.sum().item() / 3, rel=1e-5)
