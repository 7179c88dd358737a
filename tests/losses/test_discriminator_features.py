import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import padinv.checkpoints
from padinv.exceptions import ConfigError
from padinv.losses import DiscriminatorFeatureLoss, feature_distance
from padinv.networks import Discriminator


@pytest.fixture(scope="module")
def discriminator() -> Discriminator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Discriminator(16, channels={4: 8, 8: 6, 16: 4})


def images(size: int = 16, batch: int = 2) -> tuple[Tensor, Tensor]:
    return tuple(torch.rand(2, batch, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1)


def test_is_the_mean_over_layers_of_the_feature_distance(discriminator: Discriminator) -> None:
    a, b = images()
    maps = zip(discriminator.features(a), discriminator.features(b), strict=True)
    distances = [2 - 2 * F.cosine_similarity(x, y).mean().item() for x, y in maps]
    assert len(distances) == 2
    assert DiscriminatorFeatureLoss(discriminator)(a, b).item() == pytest.approx(sum(distances) / 2, rel=1e-5)
    for layers in ([0], [1], [-1]):
        loss = DiscriminatorFeatureLoss(discriminator, layers=layers)
        assert loss(a, b).item() == pytest.approx(distances[layers[0]], rel=1e-5)


def test_gradient_reaches_the_reconstruction_only(discriminator: Discriminator) -> None:
    a, b = (image.requires_grad_() for image in images())
    loss = DiscriminatorFeatureLoss(discriminator)
    loss(a, b).backward()
    assert a.grad.abs().sum() > 0
    assert b.grad is None
    assert loss(b, b).item() == pytest.approx(0, abs=1e-6)


def test_keeps_a_frozen_copy_and_leaves_the_callers_own(discriminator: Discriminator) -> None:
    discriminator.train()
    loss = DiscriminatorFeatureLoss(discriminator)
    assert discriminator.training
    assert all(parameter.requires_grad for parameter in discriminator.parameters())
    assert not list(loss.parameters())
    assert not loss.state_dict()
    assert not any(parameter.requires_grad for parameter in loss.discriminator.network.parameters())


def test_larger_images_are_resized_with_antialiasing(discriminator: Discriminator) -> None:
    loss = DiscriminatorFeatureLoss(discriminator)
    small, _ = images()
    large = F.interpolate(small, size=64, mode="bilinear")
    stripes = torch.tensor([1.0, -1.0, -1.0, 1.0]).repeat(16)  # finer than 16 px can show: they average out
    assert loss(large + stripes, large).item() < 0.01
    assert loss(large + stripes.repeat_interleave(4)[:64], large).item() > 0.1


@given(scale=st.floats(0.1, 10), size=st.integers(1, 3))
def test_distance_does_not_depend_on_scale(scale: float, size: int) -> None:
    a, b = torch.randn(2, 2, 5, size, size, generator=torch.Generator().manual_seed(size)) + 0.1
    distance = feature_distance(a, b).item()
    assert 0 < distance <= 4
    assert feature_distance(scale * a, b).item() == pytest.approx(distance, rel=1e-4)
    assert feature_distance(b, a).item() == pytest.approx(distance, rel=1e-5)


def test_distance_has_a_finite_gradient_at_zero_features() -> None:
    a = torch.zeros(1, 4, 2, 2, requires_grad=True)
    feature_distance(a, torch.ones(1, 4, 2, 2)).backward()
    assert a.grad.isfinite().all()


def test_a_name_is_loaded(discriminator: Discriminator, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> nn.Module:
        assert name == "portraits"
        return discriminator

    monkeypatch.setattr(padinv.checkpoints, "load_discriminator", load)
    a, b = images()
    expected = DiscriminatorFeatureLoss(discriminator)(a, b)
    assert torch.equal(DiscriminatorFeatureLoss("portraits")(a, b), expected)


def test_refuses_what_cannot_be_compared(discriminator: Discriminator) -> None:
    with pytest.raises(ConfigError, match="layers of DiscriminatorFeatureLoss is empty"):
        DiscriminatorFeatureLoss(discriminator, layers=[])
    with pytest.raises(ConfigError, match=r"is \[2\], but this discriminator has 0 to 1"):
        DiscriminatorFeatureLoss(discriminator, layers=[2])(*images())
    with pytest.raises(ConfigError, match=r"images of 16 px or more, not \(8, 8\)"):
        DiscriminatorFeatureLoss(discriminator)(*images(8))


def test_the_default_is_bundled() -> None:
    loss = DiscriminatorFeatureLoss()
    a, b = images(64)
    assert loss.discriminator.network.resolution == 64
    assert 0.05 < loss(a, b).item() < 4
    assert loss(a, a).item() == 0
