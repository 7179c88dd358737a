from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from code_samples import assert_close, make_code, same
from padinv import Generator, InversionCode
from padinv.editing import interpolate, mix, truncate
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
    a, b = make_code(seed=1), make_code(1, seed=2)
    codes = list(interpolate(a, b, frames, easing))
    assert len(codes) == frames
    assert same(codes[0], a)
    assert same(codes[-1], b.expand(3))


@pytest.mark.parametrize(("easing", "quarter"), [("linear", 0.25), ("smooth", 3 / 16 - 2 / 64)])
def test_frames_move_padding_too(easing: str, quarter: float) -> None:
    a, b = make_code(seed=1), make_code(seed=2)
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
    coarse = truncate(code, generator, psi, layers=2)
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
def test_what_does_not_fit_is_named(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
