from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from code_samples import assert_close, make_code, same
from padinv import Generator, InversionCode, PaddingCode, load_generator
from padinv.editing import blend, face_mask, interpolate, mix, transfer, truncate
from padinv.exceptions import ConfigError


@given(st.sets(st.integers(0, 5), min_size=1))
def test_mix_takes_each_layer_from_one(layers: set[int]) -> None:
    coarse, fine = make_code(seed=1), make_code(1, seed=2)
    mixed = mix(coarse, fine, layers)
    for layer in range(6):
        source = fine.expand(3) if layer in layers else coarse
        assert torch.equal(mixed.w_plus[:, layer], source.w_plus[:, layer])
    assert mixed.padding is coarse.padding


def test_mix_of_all_layers_is_the_other_in_latents() -> None:
    coarse, fine = make_code(seed=1), make_code(seed=2)
    assert torch.equal(mix(coarse, fine, None).w_plus, fine.w_plus)
    assert same(mix(coarse, coarse, "2-"), coarse)


@pytest.mark.parametrize("easing", ["linear", "smooth"])
@pytest.mark.parametrize("frames", [2, 3, 10])
def test_frames_begin_and_end_at_the_codes(frames: int, easing: str) -> None:
    a, b = make_code(seed=1, features=True), make_code(1, seed=2, features=True)
    codes = list(interpolate(a, b, frames, easing))
    assert len(codes) == frames
    assert same(codes[0], a)
    assert same(codes[-1], b.expand(3))


@pytest.mark.parametrize(("easing", "quarter"), [("linear", 0.25), ("smooth", 3 / 16 - 2 / 64)])
def test_frames_move_padding_and_features_too(easing: str, quarter: float) -> None:
    a, b = make_code(seed=1, features=True), make_code(seed=2, features=True)
    codes = list(interpolate(a, b, 5, easing))
    assert_close(codes[1], a.lerp(b, quarter))
    assert_close(codes[2], a.lerp(b, 0.5))


def tiny_generator() -> Generator:
    torch.manual_seed(0)
    generator = Generator(16, z_dim=8, w_dim=16, mapping_layers=2, channels={4: 8, 8: 4, 16: 4}).eval()
    generator.w_avg.normal_()
    return generator


@given(st.floats(0, 1, width=16))
def test_truncation_shortens_the_way_to_the_mean(psi: float) -> None:
    generator, code = tiny_generator(), make_code()
    truncated = truncate(code, generator, psi)
    torch.testing.assert_close(truncated.w_plus - generator.w_avg, psi * (code.w_plus - generator.w_avg))
    assert truncated.padding is code.padding
    coarse = truncate(code, generator, psi, truncation_cutoff=2)
    assert same(coarse, truncate(code, generator, psi, layers=2))
    assert torch.equal(coarse.w_plus[:, 2:], code.w_plus[:, 2:])
    assert torch.equal(coarse.w_plus[:, :2], truncated.w_plus[:, :2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mix(make_code(), make_code(), "6-"), "among 0-5"),
        (lambda: mix(make_code(2), make_code(3), "1"), "2 in coarse, 3 in fine"),
        (lambda: interpolate(make_code(), make_code(), 1), "2 or more"),
        (lambda: interpolate(make_code(), make_code(), 3, "bouncy"), "linear, smooth, not 'bouncy'"),
        (lambda: interpolate(make_code(2), make_code(3), 3), "2 in a, 3 in b"),
        (lambda: truncate(InversionCode(torch.zeros(1, 6, 8)), tiny_generator()), r"\(B, 6, 16\), not \(1, 6, 8\)"),
    ],
)
def test_what_cannot_be_mixed_is_named(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


RINGS = st.none() | st.sets(st.sampled_from([4, 8]))


@given(RINGS, st.booleans())
def test_blended_with_itself_is_itself(rings: set[int] | None, const: bool) -> None:
    code = make_code(features=True)
    assert same(blend(code, code, rings=rings, const=const), code)


@given(RINGS, st.booleans(), st.sets(st.sampled_from([4, 8])))
def test_every_part_comes_from_one_of_both(rings: set[int] | None, const: bool, features: set[int]) -> None:
    contour, details = make_code(seed=1, features=True), make_code(seed=2, features=True)
    blended = blend(contour, details, rings=rings, const=const, features=features).named_tensors()
    ours = {f"ring_{r}" for r in ([4, 8] if rings is None else rings)} | ({"const"} if const else set())
    ours |= {f"features_{r}" for r in features}
    assert blended.keys() == details.named_tensors().keys()
    for name, part in blended.items():
        source = contour if name in ours else details
        assert torch.equal(part, source.named_tensors()[name])


@pytest.mark.parametrize("sizes", [(1, 3), (3, 1)])
def test_one_with_many(sizes: tuple[int, int]) -> None:
    contour, details = make_code(sizes[0], 1), make_code(sizes[1], 2)
    blended = blend(contour, details)
    assert len(blended) == 3
    assert same(blended[2], blend(contour[min(2, sizes[0] - 1)], details[min(2, sizes[1] - 1)]))


def test_what_the_details_lack_is_left_to_the_generator() -> None:
    contour, bare = make_code(), make_code(padding=False)
    assert blend(contour, bare, rings=[8], const=False).named_tensors().keys() == {"w_plus", "ring_8"}
    assert blend(contour, bare, rings=[], const=False).padding is None
    without_const = InversionCode(contour.w_plus, PaddingCode(None, contour.padding.rings))
    assert torch.equal(blend(without_const, contour).padding.const, contour.padding.const)


def test_padding_moves_the_image_and_ring_choice_matters() -> None:
    """Over the bundled generator: the more of the contour's padding, the further from the details' image."""
    generator = load_generator("congress64")
    shape, random = generator.code_shape, torch.Generator().manual_seed(0)
    rings = {r: torch.randn(2, shape.channels[r], 4 * r + 4, generator=random) for r in (4, 16)}
    codes = InversionCode(generator.w_avg.expand(2, shape.num_layers, -1), PaddingCode(None, rings))
    contour, details = codes[0], codes[1]
    images = [generator.synthesis(*blend(contour, details, rings=r).parts) for r in ([], [16], [4, 16])]
    distances = [(image - images[0]).square().mean() for image in images]
    assert 0 == distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize(
    ("contour", "details", "rings", "message"),
    [
        (make_code(padding=False), make_code(), None, "this code has none"),
        (make_code(), make_code(), [4, 32], r"rings names \[32\] px, but the contour has rings at \[4, 8\]"),
        (make_code(2), make_code(3), None, "there are 2 in contour, 3 in details"),
        (make_code(), InversionCode(torch.zeros(3, 8, 16)), None, r"latents are \(6, 16\) in contour, \(8, 16\) in"),
    ],
)
def test_what_cannot_be_blended_is_named(
    contour: InversionCode, details: InversionCode, rings: list[int] | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        blend(contour, details, rings=rings)


def test_features_are_the_details_inside_the_mask_alone() -> None:
    contour, details = make_code(seed=1, features=True), make_code(seed=2, features=True)
    assert_close(blend(contour, details, mask=torch.ones(64, 64)), blend(contour, details))
    assert_close(blend(contour, details, mask=torch.zeros(64, 64)), blend(contour, details, features=[4, 8]))
    left = torch.cat([torch.ones(16, 8), torch.zeros(16, 8)], dim=1)
    blended = blend(contour, details, mask=left)
    for r in (4, 8):
        torch.testing.assert_close(blended.features[r][..., : r // 2], details.features[r][..., : r // 2])
        torch.testing.assert_close(blended.features[r][..., r // 2 :], contour.features[r][..., r // 2 :])
    assert torch.equal(blended.w_plus, details.w_plus)
    assert not blend(make_code(seed=1), details, mask=left).features[8][..., 4:].any()  # none are zeros
    assert torch.equal(blend(contour, details, features=[4], mask=left).features[4], contour.features[4])
    with pytest.raises(ConfigError, match=r"mask must be \(H, W\) with numbers from 0 to 1"):
        blend(contour, details, mask=torch.full((8, 8), 2.0))


def test_the_mask_of_a_face() -> None:
    mask = face_mask(64)
    assert mask.shape == (64, 64)
    assert mask[35, 32] > 0.99  # the nose
    assert max(mask[0].max(), mask[-1].max(), mask[:, 0].max(), mask[:, -1].max()) < 0.02
    torch.testing.assert_close(mask, mask.flip(1))


STRENGTHS = st.floats(-4, 4, width=16)


@given(STRENGTHS)
def test_nothing_happens_without_a_difference_or_strength(strength: float) -> None:
    before, after, target = (make_code(seed=seed) for seed in range(3))
    assert same(transfer(before, before, target, strength), target)
    assert same(transfer(before, after, target, 0.0), target)


def test_transfer_within_the_pair_itself() -> None:
    before, after = make_code(seed=0), make_code(seed=1)
    assert_close(transfer(before, after, before), after)
    assert_close(transfer(before, after, after, -1.0), before)


@given(STRENGTHS, STRENGTHS)
def test_strengths_add_up_and_are_separate(strength: float, padding_strength: float) -> None:
    before, after, target = (make_code(seed=seed) for seed in range(3))
    both = transfer(before, after, target, strength, padding_strength)
    latents = transfer(before, after, target, strength, 0.0)
    assert latents.padding is target.padding
    assert_close(transfer(before, after, latents, 0.0, padding_strength), both)


def test_one_pair_for_many() -> None:
    before, after, target = make_code(1, 0), make_code(1, 1), make_code(4, 2)
    edited = transfer(before, after, target, 0.5, 2.0)
    assert_close(edited[3], transfer(before, after, target[3], 0.5, 2.0))


def test_latents_alone() -> None:
    before, after, target = (make_code(seed=seed, padding=False) for seed in range(3))
    assert transfer(before, after, target).padding is None
    assert same(transfer(before, after, make_code(seed=2), padding_strength=0.0)[0:0], make_code(seed=2)[0:0])


@pytest.mark.parametrize(
    ("before", "message"),
    [
        (make_code(padding=False), "set padding_strength to 0"),
        (InversionCode(torch.zeros(3, 6, 16), PaddingCode(torch.zeros(3, 8, 4, 4))), "different parts"),
        (make_code(2), "2 in before, 3 in after"),
    ],
)
def test_what_cannot_be_transferred_is_named(before: InversionCode, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        transfer(before, make_code(), make_code())


def test_features_of_details_stay_unless_the_contours_are_named() -> None:
    contour, details = make_code(seed=1, features=True), make_code(seed=2)
    assert blend(contour, details).features is None
    assert blend(contour, details, features=[8]).feature_resolutions == [8]
    assert torch.equal(blend(details, contour).features[4], contour.features[4])
    with pytest.raises(ConfigError, match=r"features names \[8\] px, but the contour has features at \[\] px"):
        blend(details, contour, features=[8])


def test_transfer_moves_features_in_step() -> None:
    before, after, target = (make_code(seed=seed, features=True) for seed in (1, 2, 3))
    assert_close(transfer(before, after, before), after)
    moved = transfer(before, after, target, 2.0, 0.0, 0.5)
    expected = target.features[8] + 0.5 * (after.features[8] - before.features[8])
    torch.testing.assert_close(moved.features[8], expected)
    assert moved.padding is target.padding
    plain = make_code(seed=4)
    assert transfer(before, after, plain, 1.0, feature_strength=0.0).features is None
    with pytest.raises(ConfigError, match=r"features at \[4, 8\], \[4, 8\], \[\] px.*set feature_strength to 0"):
        transfer(before, after, plain)


def test_mixing_and_truncating_leave_features() -> None:
    code = make_code(features=True)
    assert mix(code, make_code(seed=1), "2-").features is code.features
    assert truncate(code, tiny_generator(), 0.5).features is code.features
