import copy
from collections.abc import Sequence

import pytest
import torch
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from padinv.exceptions import ConfigError
from padinv.gan.augmentation import BLIT, COLOUR, GEOMETRIC, AdaptiveAugmentation
from padinv.losses.adversarial import gradient_penalty
from two_ranks import rank_of_two

CHANGES = BLIT + GEOMETRIC + COLOUR


def images(batch: int = 8, size: int = 16, seed: int = 0) -> Tensor:
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def only(*changes: str, probability: float = 1.0) -> AdaptiveAugmentation:
    return AdaptiveAugmentation(probability=probability, without=[name for name in CHANGES if name not in changes])


def is_one_of(image: Tensor, candidates: Sequence[Tensor]) -> bool:
    return any(torch.allclose(image, candidate, atol=1e-4) for candidate in candidates)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_nothing_happens_at_probability_0() -> None:
    x = images()
    assert torch.equal(AdaptiveAugmentation()(x), x)


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_changes_images_and_can_be_left_out(change: str) -> None:
    x = images(64)
    y = only(change)(x)
    changed = (y - x).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert changed.float().mean() > 0.3  # half of them are mirrored or inverted, more are changed otherwise
    assert y.isfinite().all()
    torch.testing.assert_close(only()(x), x)


@pytest.mark.parametrize(
    ("switches", "changes"),
    [({}, {*CHANGES}), ({"blit": False}, {*GEOMETRIC, *COLOUR}), ({"geometric": False, "colour": False}, {*BLIT})],
)
def test_groups(switches: dict[str, bool], changes: set[str]) -> None:
    assert AdaptiveAugmentation(**switches).changes == changes


def test_each_image_goes_its_own_way_and_as_often_as_asked() -> None:
    x = images(1, size=8).expand(4000, -1, -1, -1)
    y = only("brightness", probability=0.3)(x)
    offsets = (y - x).mean(dim=(1, 2, 3))
    changed = offsets.abs() > 1e-6
    assert changed.float().mean().item() == pytest.approx(0.3, abs=0.04)
    assert offsets[changed].std().item() == pytest.approx(0.2, abs=0.02)


def test_two_rotations_make_at_least_one_as_often_as_asked() -> None:
    x = images(1, size=8).expand(4000, -1, -1, -1)
    changed = (only("rotate", probability=0.5)(x) - x).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert changed.float().mean().item() == pytest.approx(0.5, abs=0.04)


def test_blitting_moves_pixels_and_makes_no_new_ones() -> None:
    x = images()
    for before, after in zip(x, only("flip", "rotate90")(x), strict=True):
        assert is_one_of(
            after, [turned for k in range(4) for turned in (before.rot90(k, (1, 2)), before.flip(2).rot90(k, (1, 2)))]
        )
    for before, after in zip(x, only("translate")(x), strict=True):
        padded = nn.functional.pad(before[None], (2, 2, 2, 2), mode="reflect")[0]
        assert is_one_of(after, [padded[:, i : i + 16, j : j + 16] for i in range(5) for j in range(5)])


def test_colour_changes_what_it_says() -> None:
    x = images()
    grey = x.mean(dim=1, keepdim=True)
    for change in ("hue", "saturation"):
        torch.testing.assert_close(only(change)(x).mean(dim=1, keepdim=True), grey, atol=1e-5, rtol=0)
    hue = only("hue")(x)
    torch.testing.assert_close((hue - grey).square().sum(dim=1), (x - grey).square().sum(dim=1), atol=1e-4, rtol=0)
    for before, after in zip(x, only("luma_flip")(x), strict=True):
        assert is_one_of(after, [before, before - 2 * before.mean(dim=0)])
    for change, origin in (("saturation", grey), ("contrast", torch.zeros_like(grey))):
        ratio = (only(change)(x) - origin) / (x - origin)
        torch.testing.assert_close(ratio, ratio[:, :1, :1, :1].expand_as(ratio), atol=0.05, rtol=1e-2)


def test_geometry_moves_and_scales_as_much_as_it_says() -> None:
    """A white square of 16 px in the middle of black: its area tells the scale, its middle the shift."""
    x = torch.zeros(500, 3, 48, 48)
    x[..., 16:32, 16:32] = 1
    places = torch.arange(48.0) - 23.5
    area = only("scale")(x).mean(dim=1).sum(dim=(1, 2)) / 256
    assert (area.log2() / 2).std().item() == pytest.approx(0.2, rel=0.1)  # the sides' logarithm
    middle = (only("shift")(x)[:, 0] * places).sum(dim=(1, 2)) / 256
    inside = middle.abs() < 12
    assert middle[inside].std().item() == pytest.approx(6 * 0.88, rel=0.1)  # N(0, 6²), cut off at 2σ
    stretched = only("stretch")(x)[:, 0]
    assert stretched.sum(dim=(1, 2)).mean().item() == pytest.approx(256, rel=0.02)
    width, height = places.square().expand(500, 48, 48), places.square()[:, None].expand(500, 48, 48)
    product = ((stretched * width).sum(dim=(1, 2)) * (stretched * height).sum(dim=(1, 2))).sqrt()
    assert product.median().item() == pytest.approx(256 * (16**2 - 1) / 12, rel=0.02)
    assert product.quantile(0.9) / product.quantile(0.1) < 1.05  # few are so narrow that mirror images show


@settings(max_examples=20, deadline=None)
@given(
    probability=st.floats(0, 1),
    size=st.sampled_from([8, 16, 64]),
    batch=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_any_draw_is_finite_and_in_the_images_own_form(probability: float, size: int, batch: int, seed: int) -> None:
    torch.manual_seed(seed)
    x = images(batch, size, seed)
    y = AdaptiveAugmentation(probability=probability)(x)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert y.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_does_not_coarsen_it(dtype: torch.dtype) -> None:
    x, augment = images(), only("hue", "contrast")
    torch.manual_seed(1)
    expected = augment(x)
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = augment(x.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, atol=1e-6 if dtype == torch.float32 else 0.1, rtol=0)


def test_gradient_is_that_of_the_changes() -> None:
    """The map of pixels is affine, so that its derivative is a difference of any size."""
    augment = AdaptiveAugmentation(probability=1)
    x, direction = images().double(), images(seed=1).double()

    def changed(x: Tensor) -> Tensor:
        torch.manual_seed(2)
        return augment(x)

    difference = changed(x + direction) - changed(x)
    for seed in range(3):  # one backward pass each: two, as of a forward derivative, need torch 2.9
        weights = images(seed=seed + 2).double()
        _, gradient = torch.autograd.functional.vjp(changed, x, weights)
        torch.testing.assert_close((gradient * direction).sum(), (weights * difference).sum())


def test_penalty_at_augmented_images_trains_the_discriminator() -> None:
    discriminator = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Softplus(), nn.Flatten(), nn.LazyLinear(1))
    gradient_penalty(discriminator, AdaptiveAugmentation(probability=1)(images())).backward()
    weight = discriminator[0].weight
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("score", "expected"), [(1.0, 0.25), (-1.0, 0.15)])
def test_probability_follows_the_discriminator(score: float, expected: float) -> None:
    augment = AdaptiveAugmentation(probability=0.2, every=5, images_to_one=1000)
    for _ in range(4):
        augment.update(torch.full((10, 1), score))
    assert augment.probability.item() == pytest.approx(0.2)
    augment.update(torch.full((10, 1), score))  # 50 images of 1000
    assert augment.probability.item() == pytest.approx(expected)
    assert augment.overfitting.item() == score


def test_target_is_what_probability_turns_at() -> None:
    scores = torch.tensor([1.0] * 17 + [-1.0] * 3)[:, None]  # r = 0.7
    for target, change in ((0.6, 0.02), (0.8, -0.02)):
        augment = AdaptiveAugmentation(probability=0.5, every=1, images_to_one=1000, target=target)
        augment.update(scores)
        assert augment.probability.item() == pytest.approx(0.5 + change)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.floats(0, 1))
def test_probability_stays_in_range(scores: list[float], maximum: float) -> None:
    augment = AdaptiveAugmentation(every=1, images_to_one=3, maximum=maximum)
    for score in scores:
        augment.update(torch.tensor([[score]]))
        assert 0 <= augment.probability.item() <= augment.maximum + 1e-6


def test_resumes_between_two_moves() -> None:
    whole = AdaptiveAugmentation(every=4, images_to_one=100)
    for _ in range(3):
        whole.update(torch.ones(8, 1))
    resumed = AdaptiveAugmentation(every=4, images_to_one=100)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for augment in (whole, resumed):
        augment.update(torch.ones(8, 1))
    assert resumed.probability == whole.probability == torch.tensor(0.32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probability": 0.9, "maximum": 0.8}, "probability 0.9, maximum=0.8"),
        ({"probability": -0.1}, "probability -0.1"),
        ({"target": 1.0}, "target"),
        ({"every": 0}, "every"),
        ({"images_to_one": 0}, "images_to_one"),
        ({"without": ["color"]}, "'color'; take flip"),
    ],
)
def test_refuses_options_that_cannot_work(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AdaptiveAugmentation(**options)


@pytest.mark.ddp
@pytest.mark.slow
def test_ranks_count_together(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(rank_of_two, (str(folder),), nprocs=2)
    for rank in range(2):
        overfitting, probability = torch.load(folder / f"{rank}.pt")
        assert overfitting.item() == 0
        assert probability.item() == pytest.approx(0.3)  # 20 images of 100, whatever the rank's own scores
