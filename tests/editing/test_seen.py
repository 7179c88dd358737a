from __future__ import annotations

import math

import pytest
import torch

from padinv import Generator, InversionCode, load_generator
from padinv.editing import Direction, ganspace, linear, remarks, seen_range, sefa, transfer, truncate
from padinv.exceptions import ConfigError


@pytest.fixture(scope="module")
def generator(generator_file: str) -> Generator:
    return load_generator(generator_file)


@pytest.mark.parametrize("find", [sefa, ganspace])
def test_range_of_what_was_found_in_w_is_that_of_mapped_latents(generator: Generator, find: object) -> None:
    for direction in find(generator, count=2):
        lowest, highest = seen_range(direction, generator)
        assert -7 < lowest < -1 < 1 < highest < 7  # strength 1 is one standard deviation
        longer = Direction("longer", 10 * direction.vector)
        assert seen_range(longer, generator) == pytest.approx((lowest / 10, highest / 10))
        for_each = Direction("for each", direction.vector.expand(8, -1))
        assert seen_range(for_each, generator) == pytest.approx((lowest, highest))


def test_range_of_what_was_fitted_is_that_of_the_codes(generator: Generator) -> None:
    pytest.importorskip("sklearn", reason="an extra")
    codes = InversionCode(torch.randn(40, 8, 16, generator=torch.Generator().manual_seed(0)))
    direction = linear(codes, (codes.w_plus[:, 0, 0] > 0).tolist(), name="left")
    lowest, highest = seen_range(direction, generator)
    places = direction.distance(codes) - direction.distance(codes).mean()
    assert (lowest, highest) == pytest.approx((places.min().item(), places.max().item()), abs=1e-4)
    old = Direction("old", direction.vector, kind="linear", metadata={"accuracy": 0.9})
    assert seen_range(old, generator) == (-4, 4)


def test_remarks(generator: Generator) -> None:
    facts = {"lowest": -2.5, "highest": 3.0, "negative": "female", "positive": "male"}
    direction = Direction("gender", torch.ones(16), kind="linear", metadata=facts)
    assert remarks(direction, 2.0, generator) == ["gender +2: towards male."]
    assert remarks(direction, -2.0, generator) == ["gender -2: towards female."]
    assert remarks(direction, 0.0, generator) == []
    _, beyond = remarks(direction, 100.0, generator)
    assert "gender +100 is further than the direction was seen to hold, from -2.5 to 3" in beyond


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(generator: Generator, value: float) -> None:
    code = InversionCode(torch.zeros(2, 8, 16))
    direction = Direction("a", torch.ones(16))
    for edit in (
        lambda: direction.apply(code, value),
        lambda: direction.apply(code, torch.tensor([1.0, value])),
        lambda: direction.apply(code, 1.0, padding_strength=value),
        lambda: transfer(code, code, code, value),
        lambda: transfer(code, code, code, 1.0, value),
        lambda: truncate(code, generator, value),
    ):
        with pytest.raises(ConfigError, match="must be finite"):
            edit()
