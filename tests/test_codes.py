from __future__ import annotations

import pytest
import torch

import code_samples
from padinv import InversionCode, PaddingCode
from padinv.exceptions import ConfigError


def make_code(batch: int = 3) -> InversionCode:
    padding = PaddingCode(torch.randn(batch, 8, 4, 4), {8: torch.randn(batch, 4, 36), 4: torch.randn(batch, 8, 20)})
    return InversionCode(torch.randn(batch, 6, 16), padding)


def same(a: InversionCode, b: InversionCode) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.tensors(), b.tensors(), strict=True))


def test_maps_and_back() -> None:
    padding = make_code().padding
    maps = padding.maps()
    assert {r: tuple(m.shape) for r, m in maps.items()} == {4: (3, 8, 6, 6), 8: (3, 4, 10, 10)}
    back = PaddingCode.from_maps(padding.const, maps)
    assert same(InversionCode(torch.zeros(3, 1, 1), back), InversionCode(torch.zeros(3, 1, 1), padding))


def test_published_setting_has_272_positions() -> None:
    padding = PaddingCode(torch.zeros(1, 1, 4, 4), {r: torch.zeros(1, 1, 4 * r + 4) for r in (4, 8, 16, 32)})
    assert sum(tensor.numel() for tensor in padding.tensors()) == 272


@pytest.mark.parametrize(
    ("index", "expected"),
    [(0, [0]), (-1, [2]), (slice(1, 3), [1, 2]), ([2, 0], [2, 0]), (torch.tensor([True, False, True]), [0, 2])],
)
def test_indexing(index: object, expected: list[int]) -> None:
    code = make_code()
    selected = code[index]
    assert len(selected) == len(expected)
    assert torch.equal(selected.w_plus, code.w_plus[expected])
    assert torch.equal(selected.padding.rings[8], code.padding.rings[8][expected])


def test_cat_undoes_iteration() -> None:
    code = make_code()
    assert [len(sample) for sample in code] == [1, 1, 1]
    assert same(InversionCode.cat(list(code)), code)


def test_what_looks_for_shapes_inside_of_a_code_finds_one() -> None:
    """A sample iterates into itself: W&B's watch would go on for ever."""
    from wandb.integration.torch.wandb_torch import nested_shape

    code = make_code(1)
    assert nested_shape(code) == code.shape == (1, 6, 16)
    assert nested_shape(code.padding) == (1, 8, 4, 4)


def test_lerp_meets_both_ends() -> None:
    a, b = make_code(), make_code()
    assert same(a.lerp(b, 0.0), a)
    assert same(a.lerp(b, 1.0), b)
    torch.testing.assert_close(a.lerp(b, 0.5).padding.const, (a.padding.const + b.padding.const) / 2)


def test_mean_of_equal_samples_and_of_two() -> None:
    a, b = make_code()[0], make_code()[1]
    torch.testing.assert_close(list(InversionCode.cat([a, b]).mean().tensors()), list(a.lerp(b, 0.5).tensors()))
    assert same(a.mean(), a)


def test_moves_and_casts() -> None:
    code = make_code().to(torch.float64)
    assert {tensor.dtype for tensor in code.tensors()} == {torch.float64}
    assert {str(tensor.device) for tensor in code.to("meta").tensors()} == {"meta"}


def test_leaf_that_requires_gradients_and_expansion() -> None:
    code = make_code(1).requires_grad_()
    loss = sum(tensor.sum() for tensor in code.expand(4).tensors())
    loss.backward()
    assert all(torch.equal(tensor.grad, torch.full_like(tensor, 4.0)) for tensor in code.tensors())
    assert not any(tensor.requires_grad for tensor in code.detach().tensors())


def test_clone_is_independent() -> None:
    code = make_code()
    copy = code.clone()
    copy.padding.const.zero_()
    assert code.padding.const.abs().sum() > 0


@pytest.mark.parametrize(
    "code",
    [
        make_code(),
        InversionCode(torch.zeros(1, 6, 16)),
        InversionCode(torch.zeros(2, 6, 16), PaddingCode(torch.zeros(2, 1, 4, 4))),
    ],
)
def test_named_tensors_and_back(code: InversionCode) -> None:
    again = InversionCode.from_named_tensors(code.named_tensors())
    assert same(again, code)
    assert again.named_tensors().keys() == code.named_tensors().keys()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PaddingCode(None, {}), "needs a constant, a ring, or both"),
        (lambda: PaddingCode(None, {4: torch.zeros(1, 8, 36)}), r"at 4 px has shape \(B, C, 20\)"),
        (lambda: PaddingCode(torch.zeros(2, 8, 4, 4), {4: torch.zeros(1, 8, 20)}), "one batch size"),
        (lambda: PaddingCode.from_maps(None, {4: torch.zeros(1, 8, 4, 4)}), "must measure 6×6, not 4×4"),
        (lambda: InversionCode(torch.zeros(2, 512)), r"\(B, L, 512\)"),
        (lambda: InversionCode(torch.zeros(2, 6, 8), make_code().padding), "2 latents .* 3 images"),
        (lambda: make_code().lerp(InversionCode(torch.zeros(3, 6, 16)), 0.5), "have padding and some have none"),
        (lambda: InversionCode(torch.zeros(3, 6, 16)).lerp(make_code(), 0.5), "have padding and some have none"),
        (lambda: make_code().padding.lerp(PaddingCode(None, {4: torch.zeros(3, 8, 20)}), 0.5), "different parts"),
    ],
)
def test_what_does_not_fit_is_named(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_representation_is_one_line_with_shapes() -> None:
    padding = "const (3, 8, 4, 4), ring_4 (3, 8, 20), ring_8 (3, 4, 36)"
    assert repr(make_code().padding) == f"PaddingCode({padding}, float32 on cpu)"
    assert repr(make_code()) == f"InversionCode(w_plus (3, 6, 16), {padding}, float32 on cpu)"


def test_finite_by_sample() -> None:
    code = make_code()
    code.padding.rings[8][1, 2, 3] = torch.inf
    assert code.is_finite().tolist() == [True, False, True]


def with_features(batch: int = 3, seed: int = 0) -> InversionCode:
    return code_samples.make_code(batch, seed, features=True)


def test_features_take_part_in_every_operation() -> None:
    a, b = with_features(), with_features(seed=1)
    assert a.feature_resolutions == [4, 8]
    assert same(InversionCode.cat(list(a)), a)
    assert torch.equal(a[[2, 0]].features[8], a.features[8][[2, 0]])
    torch.testing.assert_close(a.lerp(b, 0.25).features[4], 0.75 * a.features[4] + 0.25 * b.features[4])
    assert a.to(torch.float64).features[8].dtype == torch.float64
    assert a[0].expand(5).features[8].shape == (5, 4, 8, 8)
    assert a.parts[2] is a.features
    a.requires_grad_()
    assert all(tensor.requires_grad for tensor in a.features.values())
    assert not a.detach().features[8].requires_grad
    broken = with_features()
    broken.features[8][1, 2, 3, 4] = torch.nan
    assert broken.is_finite().tolist() == [True, False, True]


@pytest.mark.parametrize("padding", [True, False])
def test_features_by_name_and_back(padding: bool) -> None:
    code = code_samples.make_code(padding=padding, features=True)
    named = code.named_tensors()
    assert [name for name in named if name.startswith("features")] == ["features_4", "features_8"]
    assert code_samples.same(InversionCode.from_named_tensors(named), code)
    assert [tuple(tensor.shape) for tensor in code.tensors()] == [tuple(tensor.shape) for tensor in named.values()]
    assert "features_4 (3, 8, 4, 4), features_8 (3, 4, 8, 8), float32 on cpu" in repr(code)


def test_no_features_have_one_form() -> None:
    w_plus = torch.zeros(1, 6, 16)
    assert InversionCode(w_plus, None, {}).features is InversionCode(w_plus).features is None
    assert InversionCode(w_plus).feature_resolutions == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InversionCode(torch.zeros(1, 6, 8), None, {8: torch.zeros(1, 4, 4, 4)}), r"at 8 px .* \(B, C, 8, 8\)"),
        (lambda: InversionCode(torch.zeros(1, 6, 8), None, {8: torch.zeros(4, 8, 8)}), r"not \(4, 8, 8\)"),
        (lambda: InversionCode(torch.zeros(2, 6, 8), None, {4: torch.zeros(3, 4, 4, 4)}), "2 latents .* of 3 images"),
        (lambda: with_features().lerp(make_code(), 0.5), r"features at \[4, 8\] px and some at \[\] px"),
        (lambda: InversionCode.cat([make_code(), with_features()]), r"features at \[\] px and some at \[4, 8\] px"),
    ],
)
def test_features_that_do_not_fit_are_named(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
