from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from padinv import Generator, InversionCode
from padinv.losses import CycleConsistency, random_steps


def synthesize(code: InversionCode) -> Tensor:
    """A generator whose pixels are the latents, plus features."""
    features = 0 if code.features is None else code.features[4]
    return code.w_plus[:, :3, :, None].expand(-1, -1, 4, 4) + features


def encode(images: Tensor) -> InversionCode:
    """Inverts it without features."""
    return InversionCode(images.mean(dim=(2, 3))[:, :, None].expand(-1, 3, 4))


IMAGES = torch.tensor([0.2, -0.1, 0.3]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
STEP = torch.full((2, 1, 4), 0.25)


def test_a_perfect_inversion_loses_nothing() -> None:
    loss = CycleConsistency()(encode, synthesize, encode(IMAGES), IMAGES, STEP)
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_features_that_hide_the_step_are_told_by_the_latents() -> None:
    """They take the step off again: the picture stays, and the encoder sees no step in it."""
    hiding = replace(encode(IMAGES), features={4: torch.full((2, 3, 4, 4), -0.25).requires_grad_()})
    seen = CycleConsistency(lambda_w=1.0)(encode, synthesize, hiding, IMAGES, STEP)
    # y = x: undone it is x - 0.25, and the latents lack the step.
    assert seen.item() == pytest.approx(2 * 0.25**2)
    (gradient,) = torch.autograd.grad(seen, hiding.features[4])
    assert (gradient < 0).all()  # more of the step comes through
    assert CycleConsistency(0.0)(encode, synthesize, hiding, IMAGES, STEP).item() == pytest.approx(0.25**2)


def test_steps_are_on_the_way_to_random_latents_and_depend_on_the_seed_alone() -> None:
    torch.manual_seed(0)
    generator = Generator(8, z_dim=8, w_dim=16, mapping_layers=2, channels={4: 4, 8: 4})
    generator.w_avg.normal_()
    whole, half, other = (random_steps(generator, 3, s, seed) for s, seed in ((1.0, 5), (0.5, 5), (1.0, 6)))
    assert whole.shape == (3, 1, 16)
    assert not whole.requires_grad
    torch.testing.assert_close(half, whole / 2)
    assert not torch.allclose(whole, other)
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(generator.w_avg + whole[:, 0], generator.mapping(z))
