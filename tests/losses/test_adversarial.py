import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from padinv.exceptions import ConfigError
from padinv.losses import AdversarialLoss, gradient_penalty

scores = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=4)


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@given(real=scores, fake=scores)
def test_values(real: list[float], fake: list[float]) -> None:
    tensors = torch.tensor(real)[:, None], torch.tensor(fake)[:, None]
    logistic, wasserstein = AdversarialLoss("logistic"), AdversarialLoss("wasserstein")
    close = {"rel": 1e-5, "abs": 1e-5}
    assert logistic.generator(tensors[1]).item() == pytest.approx(mean([softplus(-f) for f in fake]), **close)
    expected = mean([softplus(f) for f in fake]) + mean([softplus(-r) for r in real])
    assert logistic.discriminator(*tensors).item() == pytest.approx(expected, **close)
    assert wasserstein.generator(tensors[1]).item() == pytest.approx(-mean(fake), **close)
    assert wasserstein.discriminator(*tensors).item() == pytest.approx(mean(fake) - mean(real), **close)


@pytest.mark.parametrize("form", ["logistic", "wasserstein"])
def test_the_two_sides_pull_in_opposite_directions(form: str) -> None:
    loss = AdversarialLoss(form)
    real, fake = torch.zeros(2, 3, 1).requires_grad_().unbind()
    encoder = torch.autograd.grad(loss.generator(fake), fake)[0]
    to_real, to_fake = torch.autograd.grad(loss.discriminator(real, fake), (real, fake))
    assert (encoder < 0).all()
    assert (to_fake > 0).all()
    assert (to_real < 0).all()


class Linear(nn.Module):
    """D(x) = ⟨w, x⟩, whose gradient is w everywhere."""

    def __init__(self, *weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.flatten(1) @ self.weight[:, None]


@pytest.mark.parametrize(("norm", "value"), [("squared", 5 / 2 * 49), ("unsquared", 5 / 2 * 7)])
def test_penalty_of_a_linear_discriminator(norm: str, value: float) -> None:
    discriminator = Linear(2.0, 3.0, 6.0)
    images = torch.rand(4, 3, 1, 1)
    penalty = AdversarialLoss(r1_gamma=5, norm=norm).penalty(discriminator, images, step=0)
    assert penalty.item() == pytest.approx(value)
    penalty.backward()
    expected = 5 * discriminator.weight if norm == "squared" else 5 / 2 * discriminator.weight / 7
    torch.testing.assert_close(discriminator.weight.grad, expected.detach())
    assert images.grad is None
    assert not images.requires_grad


@pytest.mark.parametrize("norm", ["squared", "unsquared"])
def test_penalty_has_a_finite_gradient_where_the_discriminator_is_flat(norm: str) -> None:
    discriminator = Linear(0.0, 0.0, 0.0)
    AdversarialLoss(norm=norm).penalty(discriminator, torch.rand(2, 3, 1, 1), step=0).backward()
    assert torch.equal(discriminator.weight.grad, torch.zeros(3))


@pytest.mark.parametrize("norm", ["squared", "unsquared"])
def test_penalty_is_twice_differentiable_as_it_says(norm: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 1, 2, 2, generator=generator).double()
    weight = torch.randn(4, 3, generator=generator).double().requires_grad_()

    def penalty(weight: Tensor) -> Tensor:
        return gradient_penalty(lambda x: torch.tanh(x.flatten(1) @ weight).sum(dim=1), images, norm)

    assert torch.autograd.gradcheck(penalty, weight)


def test_lazy_penalty_sums_to_the_same_over_a_period() -> None:
    discriminator, images = Linear(2.0, 3.0, 6.0), torch.rand(2, 3, 1, 1)
    every, lazy = AdversarialLoss(r1_every=1), AdversarialLoss(r1_every=4)
    expected = sum(every.penalty(discriminator, images, step).item() for step in range(8))
    discriminator.calls = 0
    values = [lazy.penalty(discriminator, images, step).item() for step in range(8)]
    assert [value > 0 for value in values] == [True, False, False, False] * 2
    assert sum(values) == pytest.approx(expected)
    assert discriminator.calls == 2


def test_no_gamma_no_penalty() -> None:
    discriminator = Linear(1.0, 1.0, 1.0)
    assert AdversarialLoss(r1_gamma=0).penalty(discriminator, torch.rand(1, 3, 1, 1), step=0).item() == 0
    assert discriminator.calls == 0


def test_penalty_is_float32_inside_autocast() -> None:
    discriminator = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    images = torch.rand(2, 3, 2, 2)
    expected = AdversarialLoss().penalty(discriminator, images, step=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        penalty = AdversarialLoss().penalty(discriminator, images.bfloat16(), step=0)
    assert penalty.dtype == torch.float32
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-6)  # linear: the images do not matter


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "hinge"}, "form must be one of logistic, wasserstein"),
        ({"norm": "cubed"}, "norm must be one of squared, unsquared"),
        ({"r1_gamma": -1.0}, "r1_gamma must be 0 or more"),
        ({"r1_every": 0}, "r1_every must be 1 or more"),
    ],
)
def test_refuses_impossible_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AdversarialLoss(**options)


def test_the_earlier_name_of_the_generators_side() -> None:
    class Own(AdversarialLoss):
        def encoder(self, fake_scores: torch.Tensor) -> torch.Tensor:
            return fake_scores.sum()

    scores = torch.tensor([[1.0], [2.0]])
    assert torch.equal(AdversarialLoss().encoder(scores), AdversarialLoss().generator(scores))
    assert Own().generator(scores) == Own().encoder(scores) == 3
