from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from code_samples import assert_close, make_code, same
from padinv import InversionCode
from padinv.editing import Direction
from padinv.exceptions import ConfigError

SEEDS = st.integers(0, 2**16)
STRENGTHS = st.floats(-4, 4, width=16)


def make_direction(seed: int = 0, rows: int = 6, name: str = "one", **facts: object) -> Direction:
    random = torch.Generator().manual_seed(seed)
    return Direction(name, torch.randn(rows, 16, generator=random), **facts)


def with_padding(seed: int = 0, **facts: object) -> Direction:
    return make_direction(seed, padding=make_code(1, seed).padding, **facts)


@pytest.mark.parametrize("direction", [make_direction(), make_direction(rows=1), with_padding()])
def test_strength_zero_is_identity(direction: Direction) -> None:
    code = make_code(features=True)
    assert same(direction.apply(code, 0.0), code)


@pytest.mark.parametrize("direction", [make_direction(), with_padding()])
@pytest.mark.parametrize("padding", [True, False])
def test_features_stay(direction: Direction, padding: bool) -> None:
    code = make_code(padding=padding, features=True)
    assert all(torch.equal(direction.apply(code, 2.0).features[r], code.features[r]) for r in (4, 8))


@given(STRENGTHS, STRENGTHS)
def test_steps_add_up(a: float, b: float) -> None:
    code, direction = make_code(), with_padding()
    assert_close(direction.apply(direction.apply(code, a), b), direction.apply(code, a + b))


@given(st.sets(st.integers(0, 5), min_size=1), st.sampled_from([1, 6]))
def test_only_chosen_layers_move(layers: set[int], rows: int) -> None:
    code, direction = make_code(), make_direction(rows=rows)
    rest = [layer for layer in range(6) if layer not in layers]
    for edited in (direction.apply(code, 2.0, layers), replace(direction, layers=tuple(layers)).apply(code, 2.0)):
        difference = edited.w_plus - code.w_plus
        assert not difference[:, rest].any()
        torch.testing.assert_close(difference, 2 * direction.vector * (difference != 0), rtol=1e-4, atol=1e-5)
        assert (difference[:, sorted(layers)].abs().amax(dim=-1) > 0).all()


def test_layers_given_replace_the_directions_own() -> None:
    code, direction = make_code(), make_direction(rows=1, layers=(0, 1))
    moved = direction.apply(code, 1.0, "4-").w_plus != code.w_plus
    assert moved.any(dim=-1).any(dim=0).tolist() == [False] * 4 + [True] * 2


def test_padding_moves_in_step_or_by_itself() -> None:
    code, direction = make_code(), with_padding()
    edited = direction.apply(code, 2.0)
    torch.testing.assert_close(edited.padding.const, code.padding.const + 2 * direction.padding.const)
    torch.testing.assert_close(edited.padding.rings[8], code.padding.rings[8] + 2 * direction.padding.rings[8])
    assert_close(direction.apply(direction.apply(code, 2.0, padding_strength=0), 0.0, padding_strength=2.0), edited)
    assert direction.apply(make_code(padding=False)).padding is None
    assert make_direction().apply(code).padding is code.padding


def test_features_move_in_step_or_by_themselves() -> None:
    code, own = make_code(features=True), make_code(1, 3, features=True)
    direction = with_padding(features={8: own.features[8]})
    edited = direction.apply(code, 2.0)
    torch.testing.assert_close(edited.features[8], code.features[8] + 2 * own.features[8])
    assert torch.equal(edited.features[4], code.features[4])
    assert_close(direction.apply(direction.apply(code, 2.0, feature_strength=0), 0.0, None, 0.0, 2.0), edited)
    assert same(direction.apply(code, 0.0), code)
    assert direction.apply(make_code()).features is None
    each = direction.apply(code[0], torch.tensor([-1.0, 0.5, 2.0]))
    assert_close(each[1], direction.apply(code[0], 0.5))
    rest = direction.conditioned_on(with_padding(1, features={8: direction.features[8] + 1})).features[8]
    assert abs((rest * (direction.features[8] + 1)).sum()) < 1e-2 < rest.norm()


def test_many_strengths_for_one_image_and_one_for_each() -> None:
    code, direction = make_code(), with_padding()
    strengths = torch.tensor([-1.0, 0.5, 2.0])
    each = direction.apply(code, strengths)
    strip = direction.apply(code[1], strengths)
    for i, strength in enumerate(strengths.tolist()):
        assert_close(each[i], direction.apply(code[i], strength))
        assert_close(strip[i], direction.apply(code[1], strength))


@given(SEEDS, st.sampled_from([1, 6]), st.none() | st.sets(st.integers(0, 5), min_size=1))
def test_distance_is_the_strength_to_the_hyperplane(seed: int, rows: int, layers: set[int] | None) -> None:
    code = make_code(seed=seed).to(torch.float64)
    direction = make_direction(seed + 1, rows, intercept=0.7, layers=layers and tuple(layers))
    distance = direction.distance(code)
    on_it = direction.apply(code, -distance)
    torch.testing.assert_close(direction.distance(on_it), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(direction.distance(direction.apply(code, 2.0)), distance + 2, rtol=1e-5, atol=1e-6)


@given(SEEDS, st.sampled_from([1, 6]), st.sampled_from([1, 6]), st.integers(1, 3))
def test_conditioned_direction_is_orthogonal(seed: int, rows: int, other_rows: int, count: int) -> None:
    direction = make_direction(seed, rows, padding=make_code(1, seed).padding)
    others = [
        make_direction(seed + 1 + i, other_rows, intercept=0.3, padding=make_code(1, seed + 1 + i).padding)
        for i in range(count)
    ]
    conditioned = direction.conditioned_on(*others)
    code = make_code()
    edited = conditioned.apply(code, 3.0)
    for other in others:
        torch.testing.assert_close(other.distance(edited), other.distance(code), rtol=0, atol=1e-4)
        pairs = zip(conditioned.padding.tensors(), other.padding.tensors(), strict=True)
        assert abs(sum((a * b).sum() for a, b in pairs)) < 1e-2
    assert conditioned.intercept is None
    assert conditioned.vector.norm() <= direction.vector.expand(len(conditioned.vector), -1).norm() * (1 + 1e-6)


def test_one_condition_is_interfacegans_formula() -> None:
    a, b = make_direction(0, 1), make_direction(1, 1)
    n1, n2 = a.vector / a.vector.norm(), b.vector / b.vector.norm()
    conditioned = replace(a, vector=n1).conditioned_on(b)
    torch.testing.assert_close(conditioned.vector, n1 - (n1 * n2).sum() * n2)
    assert conditioned.metadata["conditions"] == "one"


def test_a_condition_in_other_layers_changes_nothing_there() -> None:
    direction, other = make_direction(0, layers=(0, 1, 2)), make_direction(1, intercept=0.0)
    conditioned = direction.conditioned_on(other)
    assert not conditioned.vector[3:].any()
    code = make_code()
    torch.testing.assert_close(other.distance(conditioned.apply(code, 5.0)), other.distance(code), rtol=0, atol=1e-4)
    apart = make_direction(1, layers=(4, 5))
    torch.testing.assert_close(direction.conditioned_on(apart).vector[:3], direction.vector[:3])


def test_without_conditions_and_with_the_same_twice() -> None:
    direction, other = with_padding(0), with_padding(1)
    assert direction.conditioned_on() is direction
    once, twice = direction.conditioned_on(other), direction.conditioned_on(other, other)
    torch.testing.assert_close(once.vector, twice.vector, rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_code() -> None:
    code = make_code().requires_grad_()
    with_padding().apply(code, 2.0).w_plus.sum().backward()
    torch.testing.assert_close(code.w_plus.grad, torch.ones_like(code.w_plus))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Direction("x", torch.zeros(16)), "finite, not zero"),
        (lambda: Direction("x", torch.full((16,), float("nan"))), "finite"),
        (lambda: Direction("x", torch.ones(1, 6, 16)), r"not \(1, 6, 16\)"),
        (lambda: Direction("x", torch.ones(16), kind="found"), "sefa, ganspace, linear, imported, not 'found'"),
        (lambda: Direction("x", torch.ones(6, 16), layers=(6,)), "among 0-5"),
        (lambda: Direction("x", torch.ones(16), padding=make_code(2).padding), "of one image, not of 2"),
        (lambda: make_direction().apply(InversionCode(torch.zeros(1, 8, 16))), "for another generator"),
        (
            lambda: make_direction(rows=1).apply(InversionCode(torch.zeros(1, 6, 8))),
            r"\(B, L, 16\), but .* \(1, 6, 8\)",
        ),
        (lambda: make_direction().apply(make_code(), layers="6"), "among 0-5"),
        (lambda: make_direction().apply(make_code(), torch.ones(2)), "one for each of 3 images"),
        (lambda: make_direction().distance(make_code()), "'one' has no hyperplane"),
        (lambda: make_direction(features={4: torch.zeros(2, 8, 4, 4)}), "features of 'one' must be those of one image"),
        (
            lambda: make_direction(features={4: torch.ones(1, 3, 4, 4)}).apply(make_code(features=True)),
            r"moves \(3, 4, 4\) where this code has \(8, 4, 4\)",
        ),
        (lambda: make_direction().conditioned_on(make_direction(name="same")), "Nothing of 'one' .* 'same'"),
        (lambda: make_direction(rows=4).conditioned_on(make_direction()), "not all for one generator"),
        (lambda: make_direction(rows=1).conditioned_on(make_direction(1, 1, layers=(0,))), "same layers"),
    ],
)
def test_what_does_not_fit_is_named(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_representation_is_one_line_with_shapes() -> None:
    direction = Direction("smile", torch.ones(4, 8), layers=(0, 1, 3), kind="linear", fingerprint="0123456789abcdef")
    assert repr(direction) == "Direction('smile', linear, vector (4, 8), layers 0-1,3, for 0123456789abcdef)"
