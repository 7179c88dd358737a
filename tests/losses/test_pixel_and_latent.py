import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from padinv.losses import FeatureRegularization, LatentRegularization, PixelLoss


@given(offset=st.floats(-2, 2), batch=st.integers(1, 3), size=st.sampled_from([2, 4]))
def test_constant_offset(offset: float, batch: int, size: int) -> None:
    target = torch.zeros(batch, 3, size, size)
    assert PixelLoss()(target + offset, target).item() == pytest.approx(offset**2, abs=1e-6)
    unsquared = PixelLoss(squared=False)(target + offset, target).item()
    assert unsquared == pytest.approx(abs(offset) * (3 * size**2) ** 0.5, abs=1e-5)


def test_unsquared_norm_is_taken_per_image() -> None:
    target = torch.zeros(2, 3, 1, 1)
    reconstruction = torch.tensor([[2.0, 3.0, 6.0], [0.0, 0.0, 1.0]]).reshape(2, 3, 1, 1)  # norms 7 and 1
    assert PixelLoss(squared=False)(reconstruction, target).item() == 4


@pytest.mark.parametrize("squared", [True, False])
def test_gradient_reaches_the_reconstruction_only_and_is_zero_at_the_target(squared: bool) -> None:
    reconstruction, target = torch.zeros(2, 2, 3, 4, 4).requires_grad_().unbind()
    (gradient,) = torch.autograd.grad(PixelLoss(squared)(reconstruction, target), reconstruction)
    assert torch.equal(gradient, torch.zeros_like(gradient))
    (gradient,) = torch.autograd.grad(PixelLoss(squared)(reconstruction + 1, target), target, allow_unused=True)
    assert gradient is None


def test_latent_distance_is_the_batch_mean_of_frobenius_norms() -> None:
    w_avg = torch.tensor([1.0, -1.0])
    w_plus = w_avg + torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 1.0], [0.0, 0.0]]])  # norms 5 and 1
    assert LatentRegularization()(w_plus, w_avg).item() == 3


def test_latent_gradient_is_finite_at_the_average() -> None:
    w_avg = torch.randn(8, generator=torch.Generator().manual_seed(0))
    w_plus = w_avg.expand(2, 4, 8).clone()
    w_plus[1, 0, 0] += 2  # one sample at the average, one beside it
    w_plus.requires_grad_()
    LatentRegularization()(w_plus, w_avg).backward()
    assert torch.equal(w_plus.grad[0], torch.zeros(4, 8))
    assert w_plus.grad[1, 0, 0].item() == 0.5


def test_feature_size_is_the_mean_square_summed_over_resolutions() -> None:
    features = {4: torch.zeros(2, 3, 4, 4), 8: torch.zeros(2, 3, 8, 8).requires_grad_()}
    features[4][0] = 2.0  # a half of the numbers
    loss = FeatureRegularization()(features)
    assert loss.item() == 2.0
    loss.backward()
    assert torch.equal(features[8].grad, torch.zeros(2, 3, 8, 8))  # where training starts
