from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from code_samples import assert_close, make_code, same
from padinv import InversionCode, PaddingCode
from padinv.editing import transfer
from padinv.exceptions import ConfigError

STRENGTHS = st.floats(-4, 4, width=16)


@given(STRENGTHS)
def test_nothing_happens_without_a_difference_or_strength(strength: float) -> None:
    before, after, target = (make_code(seed=seed) for seed in range(3))
    assert same(transfer(before, before, target, strength), target)
    assert same(transfer(before, after, target, 0.0), target)


def test_the_pair_itself() -> None:
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
def test_what_does_not_fit_is_named(before: InversionCode, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        transfer(before, make_code(), make_code())
