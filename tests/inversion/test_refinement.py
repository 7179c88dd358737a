from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from padinv import Generator, InversionCode, Inverter, PaddingCode, load_generator
from padinv.exceptions import ConfigError
from padinv.images import load_tensor
from padinv.inversion import refine
from padinv.inversion.refinement import _Search, rate_for
from padinv.losses import DiscriminatorFeatureLoss, PixelLoss, ReconstructionLoss
from padinv.sources.opening import bundled_path, open_source


@pytest.fixture(scope="module")
def generator(generator_file: str) -> Generator:
    return load_generator(generator_file)


def make_code(generator: Generator, count: int, seed: int = 0) -> InversionCode:
    """Codes as different from each other as an encoder's."""
    torch.manual_seed(seed)
    shape = generator.code_shape
    rings = {r: 0.5 * torch.randn(count, shape.channels[r], 4 * r + 4) for r in (4, 8, 16)}
    const = generator.synthesis.const + 0.3 * torch.randn(count, shape.channels[4], 4, 4)
    w_plus = generator.w_avg + 0.5 * torch.randn(count, shape.num_layers, shape.w_dim)
    return InversionCode(w_plus, PaddingCode(const, rings))


def errors(generator: Generator, code: InversionCode, targets: Tensor) -> Tensor:
    with torch.no_grad():
        return (generator.synthesis(*code.parts) - targets).square().mean(dim=(1, 2, 3))


@pytest.fixture(scope="module")
def code(generator: Generator) -> InversionCode:
    return make_code(generator, 3)


@pytest.fixture(scope="module")
def targets(generator: Generator) -> Tensor:
    with torch.no_grad():
        return generator.synthesis(*make_code(generator, 3, seed=1).parts).clamp(-1, 1)


def test_it_comes_nearer(generator: Generator, code: InversionCode, targets: Tensor) -> None:
    before = {name: tensor.clone() for name, tensor in code.named_tensors().items()}
    refined = refine(code, generator, targets, 60)
    assert (errors(generator, refined, targets) < errors(generator, code, targets) / 3).all()
    assert not any(tensor.requires_grad for tensor in refined.tensors())
    assert all(torch.equal(tensor, before[name]) for name, tensor in code.named_tensors().items())
    assert all((tensor != before[name]).any() for name, tensor in refined.named_tensors().items())


@pytest.mark.slow
def test_portraits_on_the_bundled_generator() -> None:
    """From what the generator makes of the mean code, much farther away than an encoder's code."""
    generator, source = load_generator("congress64"), open_source(str(bundled_path("congress64-val")))
    targets = torch.stack([load_tensor(source.read(i), 64) for i in range(2)])
    channels = generator.code_shape.channels
    rings = {r: torch.zeros(2, channels[r], 4 * r + 4) for r in (4, 8, 16, 32)}
    padding = PaddingCode(generator.synthesis.const.detach().expand(2, -1, -1, -1), rings)
    code = InversionCode(generator.w_avg.expand(2, 10, -1), padding)
    refined = refine(code, generator, targets)
    assert (errors(generator, refined, targets) < errors(generator, code, targets) / 20).all()


@pytest.mark.slow
def test_portraits_from_the_bundled_encoder() -> None:
    source = open_source(str(bundled_path("congress64-val")))
    portraits = torch.stack([load_tensor(source.read(i), 64) for i in range(4)])
    inverter = Inverter.from_pretrained("congress64", device="cpu")
    inversions = [inverter.invert(portraits, refine=steps) for steps in (0, 5, 200)]
    mse = [(inversion.images - portraits).square().mean() for inversion in inversions]
    assert mse[1] < mse[0] * 0.9  # a few steps help, too: they are small ones
    assert mse[2] < mse[0] / 3


def test_padding_helps(generator: Generator, code: InversionCode, targets: Tensor) -> None:
    plain = refine(InversionCode(code.w_plus), generator, targets, 30)
    assert plain.padding is None
    whole = errors(generator, refine(code, generator, targets, 30), targets)
    assert (whole < errors(generator, plain, targets)).all()


def test_company_makes_no_difference(generator: Generator, code: InversionCode, targets: Tensor) -> None:
    # Rounding grows with the steps, as in any descent: few, and in double precision, tell the images apart.
    generator = load_double(generator)
    code, targets = code.to(torch.float64), targets.double()
    together = refine(code, generator, targets, 10)
    for i in range(3):
        alone = refine(code[i], generator, targets[i, None], 10)
        for one, all_of_them in zip(alone.tensors(), together.tensors(), strict=True):
            torch.testing.assert_close(one[0], all_of_them[i], rtol=1e-5, atol=1e-6)


def load_double(generator: Generator) -> Generator:
    twin = Generator(**generator.config).double()
    twin.load_state_dict(generator.state_dict())
    return twin.requires_grad_(False)


class Counting(nn.Module):
    """Notes how many images the synthesis network is asked for."""

    def __init__(self, synthesis: nn.Module) -> None:
        super().__init__()
        self.synthesis, self.counts = synthesis, []

    def forward(self, *parts: Any) -> Tensor:
        self.counts.append(len(parts[0]))
        images: Tensor = self.synthesis(*parts)
        return images


@pytest.fixture
def counting(generator_file: str) -> Generator:
    generator = load_generator(generator_file)
    resolution = generator.resolution
    generator.synthesis = Counting(generator.synthesis)
    generator.synthesis.resolution = resolution
    return generator


def test_an_image_that_is_done_costs_nothing(counting: Generator, code: InversionCode, targets: Tensor) -> None:
    with torch.no_grad():
        targets = torch.cat([counting.synthesis(*code[0].parts), targets[1:]])
    counting.synthesis.counts.clear()
    refined = refine(code, counting, targets, 40, patience=5)
    # The first has nothing to gain: after 5 steps it goes into its last phase, a quarter of 40.
    assert counting.synthesis.counts == [3] * (1 + 5 + 10) + [2] * 25
    assert torch.equal(refined.w_plus[0], code.w_plus[0])
    assert (refined.w_plus[1:] != code.w_plus[1:]).any()


def test_it_stops_when_all_are_done(counting: Generator, code: InversionCode, targets: Tensor) -> None:
    refine(code, counting, targets, 100, tolerance=0.9, patience=3)
    assert 3 + 25 < len(counting.synthesis.counts) < 60


def test_never_worse(generator: Generator, code: InversionCode, targets: Tensor) -> None:
    wild = refine(code, generator, targets, 5, rate=1000.0)
    assert (errors(generator, wild, targets) <= errors(generator, code, targets)).all()


@pytest.mark.parametrize("targets_are", [float("nan"), float("inf")])
def test_what_cannot_be_compared_stays(generator: Generator, code: InversionCode, targets_are: float) -> None:
    targets = torch.full((3, 3, 32, 32), targets_are)
    assert torch.equal(refine(code, generator, targets, 2).w_plus, code.w_plus)


def test_the_step_size_follows_the_number_of_steps(generator: Generator, code: InversionCode, targets: Tensor) -> None:
    given, derived, other = (refine(code, generator, targets, 4, rate=rate) for rate in (rate_for(4), None, 0.1))
    assert torch.equal(given.w_plus, derived.w_plus)
    assert not torch.equal(other.w_plus, derived.w_plus)
    assert rate_for(200) == rate_for(1000) == 0.1


def test_no_steps(generator: Generator, code: InversionCode, targets: Tensor) -> None:
    assert refine(code, generator, targets, 0) is code


def test_larger_images_are_pooled(generator: Generator, code: InversionCode, targets: Tensor) -> None:
    small = torch.nn.functional.avg_pool2d(targets, 2)
    refined = refine(code, generator, small, 20)
    pooled = [torch.nn.functional.avg_pool2d(generator.synthesis(*one.parts), 2) for one in (code, refined)]
    before, after = ((images - small).square().mean(dim=(1, 2, 3)) for images in pooled)
    assert (after < before).all()


class Mirrored(ReconstructionLoss):
    """Distance to the mirrored target; it notes what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, ...]] = set()

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        self.shapes.add(tuple(reconstruction.shape))
        return (reconstruction - target.flip(-1)).square().mean()


def test_losses_of_ones_own(generator: Generator, code: InversionCode, targets: Tensor) -> None:
    loss = Mirrored()
    refined = refine(code, generator, targets, 20, losses=[(2.0, loss)])
    assert (errors(generator, refined, targets.flip(-1)) < errors(generator, code, targets.flip(-1))).all()
    assert loss.shapes == {(1, 3, 32, 32)}


def test_losses_are_weighted(
    generator: Generator, discriminator_file: str, code: InversionCode, targets: Tensor
) -> None:
    features = DiscriminatorFeatureLoss(discriminator_file)
    plain = refine(code, generator, targets, 15)
    mixed = refine(code, generator, targets, 15, losses=[(1.0, PixelLoss()), (10.0, features)])
    with torch.no_grad():
        distances = [features(generator.synthesis(*one.parts), targets) for one in (mixed, plain)]
    assert distances[0] < distances[1]


def test_regularization_keeps_latents_near(generator: Generator, code: InversionCode, targets: Tensor) -> None:
    moved = [
        (refine(code, generator, targets, 15, regularization=weight).w_plus - code.w_plus).square().mean()
        for weight in (0.0, 10.0)
    ]
    assert moved[1] < moved[0] / 2


def test_the_generator_gets_no_gradients(generator_file: str, code: InversionCode, targets: Tensor) -> None:
    generator = load_generator(generator_file).requires_grad_()
    weights = [parameter.clone() for parameter in generator.parameters()]
    refine(code, generator, targets, 2)
    assert all(parameter.grad is None for parameter in generator.parameters())
    assert all(torch.equal(a, b) for a, b in zip(weights, generator.parameters(), strict=True))


def test_in_inference_mode(generator: Generator, code: InversionCode, targets: Tensor) -> None:
    expected = refine(code, generator, targets, 3)
    with torch.inference_mode():
        actual = refine(code.clone(), generator, targets.clone(), 3)
    assert torch.equal(actual.w_plus, expected.w_plus)


def test_progress(generator: Generator, code: InversionCode, targets: Tensor) -> None:
    seen: list[tuple[int, Tensor]] = []
    refined = refine(code, generator, targets, 6, on_step=lambda *state: seen.append(state))
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert all((later <= earlier).all() for (_, earlier), (_, later) in pairwise(seen))
    torch.testing.assert_close(seen[-1][1], errors(generator, refined, targets))


def test_the_search_is_adam() -> None:
    """On the plateau of the step size it moves as torch's own."""
    torch.manual_seed(0)
    search = _Search(torch.zeros(2, 5), steps=1, rate=0.3, tolerance=0.0, patience=10)
    search.ends += 1000  # of a single step the plateau is all
    reference = torch.zeros(2, 5, requires_grad=True)
    adam = torch.optim.Adam([reference], lr=0.3, betas=_Search.BETAS)
    for step in range(10):
        reference.grad = torch.randn(2, 5)
        search.move(step, reference.grad)
        adam.step()
        torch.testing.assert_close(search.points, reference.detach())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": torch.zeros(2, 3, 32, 32)}, r"targets of 3 codes have shape \(3, 3, H, W\) of 32 px or less"),
        ({"targets": torch.zeros(3, 3, 64, 64)}, r"not \(3, 3, 64, 64\); resize them"),
        ({"targets": torch.zeros(3, 1, 32, 32)}, r"not \(3, 1, 32, 32\)"),
        ({"steps": -1}, "steps must be 0 or more and patience 1 or more, not -1 and 25"),
        ({"patience": 0}, "not 200 and 0"),
    ],
)
def test_options_that_do_not_fit(
    generator: Generator, code: InversionCode, targets: Tensor, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        refine(code, generator, **{"targets": targets, **options})


def with_features(generator: Generator, code: InversionCode, *resolutions: int) -> InversionCode:
    channels = generator.code_shape.channels
    return replace(code, features={r: 0.1 * torch.randn(len(code), channels[r], r, r) for r in resolutions})


def test_features_are_optimized_and_help(generator: Generator, code: InversionCode, targets: Tensor) -> None:
    code = with_features(generator, code, 8, 16)
    refined, others = (refine(code, generator, targets, 20, features=which) for which in (None, [16]))
    assert all((refined.features[r] != code.features[r]).any() for r in (8, 16))
    assert torch.equal(others.features[8], code.features[8])
    assert (others.features[16] != code.features[16]).any()
    still = refine(code, generator, targets, 20, features=[])
    assert all(torch.equal(still.features[r], code.features[r]) for r in (8, 16))
    assert (errors(generator, refined, targets) < errors(generator, still, targets)).all()


def test_features_can_be_added(generator: Generator, code: InversionCode, targets: Tensor) -> None:
    plain, refined = refine(code, generator, targets, 20), refine(code, generator, targets, 20, features=[16])
    assert (plain.feature_resolutions, refined.feature_resolutions) == ([], [16])
    assert (errors(generator, refined, targets) < errors(generator, plain, targets)).all()
    with pytest.raises(ConfigError, match=r"features names \[64\] px, but this generator has layers at \[4, 8, 16"):
        refine(code, generator, targets, 1, features=[64])


def test_regularization_keeps_features_near(generator: Generator, code: InversionCode, targets: Tensor) -> None:
    code = with_features(generator, code, 16)
    moved = [
        (refine(code, generator, targets, 15, regularization=weight).features[16] - code.features[16]).square().mean()
        for weight in (0.0, 10.0)
    ]
    assert moved[1] < moved[0] / 2
