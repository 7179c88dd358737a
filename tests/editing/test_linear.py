from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from code_samples import make_code
from padinv import InversionCode
from padinv.editing import linear
from padinv.exceptions import ConfigError, MissingPackageError

pytest.importorskip("sklearn")

TRUTH = make_code(1, seed=99, features=True)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def labelled(count: int = 120) -> tuple[InversionCode, Tensor]:
    """Codes that vary along one direction of latents and, in step, of padding; and how far along each is."""
    strength = 3 * torch.randn(count, generator=torch.Generator().manual_seed(1))
    step = replace(TRUTH, w_plus=TRUTH.w_plus / TRUTH.w_plus.norm())

    def move(part: Tensor, direction: Tensor) -> Tensor:
        return part + strength.reshape(-1, *[1] * (part.ndim - 1)) * direction

    return make_code(count, seed=2, features=True).map(move, step), strength


@pytest.mark.parametrize("quantity", [False, True])
def test_finds_the_direction_and_what_of_padding_and_features_goes_with_it(quantity: bool) -> None:
    codes, strength = labelled()
    labels = strength if quantity else strength > 0.5
    direction = linear(codes, labels.tolist(), folds=2, name="found", fingerprint="abc")
    assert cosine(direction.vector, TRUTH.w_plus) > 0.75
    assert cosine(direction.padding.rings[8], TRUTH.padding.rings[8]) > 0.8
    assert cosine(direction.padding.const, TRUTH.padding.const) > 0.8
    assert cosine(direction.features[8], TRUTH.features[8]) > 0.8
    assert direction.metadata["accuracy"] > 0.8 > direction.metadata["chance"]
    assert direction.distance(codes).std().item() == pytest.approx(1, rel=0.01)
    assert (
        (direction.distance(codes) > 0) == (strength > (strength.median() if quantity else 0.5))
    ).float().mean() > 0.85
    assert (direction.name, direction.kind, direction.fingerprint) == ("found", "linear", "abc")
    assert direction.metadata.get("correlation", 0) > (0.8 if quantity else -1)


def test_accuracy_of_random_labels_is_chance() -> None:
    """96 numbers for 120 images separate any labels: only images held out tell that nothing was learned."""
    codes = make_code(120, padding=False)
    labels = torch.rand(120, generator=torch.Generator().manual_seed(0)) > 0.5
    direction = linear(codes, labels.tolist(), folds=2)
    assert direction.metadata["accuracy"] < 0.62
    assert ((direction.distance(codes) > 0) == labels).float().mean() > 0.7


def test_a_group_is_on_one_side_of_every_division() -> None:
    """Each person twice, with a random label: remembering the twin would give the label away."""
    people = make_code(60, padding=False)
    twins = InversionCode(torch.cat([people.w_plus, people.w_plus + 0.01]))
    labels = (torch.rand(60, generator=torch.Generator().manual_seed(3)) > 0.5).tolist() * 2
    alone = linear(twins, labels, folds=2)
    grouped = linear(twins, labels, groups=[f"person {i}" for i in range(60)] * 2, folds=2)
    assert alone.metadata["accuracy"] > 0.8
    assert grouped.metadata["accuracy"] < 0.7
    assert (grouped.metadata["groups"], grouped.metadata["images"]) == (60, 120)


def test_confounder_is_projected_out() -> None:
    """Old photographs are grey: the kind shifts the codes far more than the label, with which it goes."""
    codes, strength = labelled()
    random = torch.Generator().manual_seed(4)
    kind = strength + 3 * torch.randn(120, generator=random) > 0
    shift = make_code(1, seed=98, features=True)

    def move(part: Tensor, by: Tensor) -> Tensor:
        return part + 10 * kind.reshape(-1, *[1] * (part.ndim - 1)) * by

    codes = codes.map(move, shift)
    naive = linear(codes, strength.tolist(), folds=2)
    careful = linear(codes, strength.tolist(), confounder=kind.tolist(), folds=2)
    difference = codes[kind].w_plus.mean(dim=0) - codes[~kind].w_plus.mean(dim=0)
    assert abs(cosine(careful.vector, difference)) < 1e-5
    for name, step in careful.padding.rings.items():
        assert cosine(step, TRUTH.padding.rings[name]) > 0.8
        assert abs(cosine(step, shift.padding.rings[name])) < 0.2
        assert cosine(naive.padding.rings[name], shift.padding.rings[name]) > 0.4


def test_hyperplane_can_lie_in_the_features() -> None:
    """What features alone say is not in the latents; a step across the hyperplane also moves what goes with it."""
    codes, strength = labelled()
    hidden = replace(codes, w_plus=make_code(120, seed=5).w_plus + 0.1 * strength[:, None, None] * TRUTH.w_plus)
    labels = (strength > 0.5).tolist()
    blind = linear(hidden, labels, folds=2)
    direction = linear(hidden, labels, folds=2, plane="features")
    assert direction.metadata["balanced_accuracy"] > 0.9 > blind.metadata["balanced_accuracy"]
    assert cosine(direction.features[8], TRUTH.features[8]) > 0.8
    assert cosine(direction.vector, TRUTH.w_plus) > 0.5
    before = direction.distance(hidden)
    assert before.std().item() == pytest.approx(1, rel=0.01)
    torch.testing.assert_close(direction.distance(direction.apply(hidden, 1.5)), before + 1.5, rtol=1e-4, atol=1e-4)
    assert direction.normal.keys() == {4, 8}
    assert blind.normal is None
    alone = linear(hidden, labels, folds=2, plane="features", layers="1-2", shared=True)
    assert alone.vector.shape == (1, 16)
    assert torch.equal(alone.normal[8], direction.normal[8])
    with pytest.raises(ConfigError, match=r"lies in features \(4, 8, 8\), which this code lacks"):
        direction.distance(make_code(2))
    with pytest.raises(ConfigError, match="no hyperplane"):
        direction.conditioned_on(blind).distance(hidden)


@pytest.mark.parametrize(("layers", "shared", "rows"), [("1-2", False, 6), (None, True, 1), ("1-2", True, 1)])
def test_layers_and_one_vector_for_all(layers: str | None, shared: bool, rows: int) -> None:
    codes, strength = labelled()
    direction = linear(codes, (strength > 0).tolist(), layers=layers, shared=shared, folds=2)
    assert direction.vector.shape == (rows, 16)
    assert direction.distance(codes).std().item() == pytest.approx(1, rel=0.01)
    moved = (direction.apply(codes).w_plus != codes.w_plus).any(dim=-1).all(dim=0)
    assert moved.tolist() == [layers is None or layer in (1, 2) for layer in range(6)]


def test_unknown_labels_are_left_out() -> None:
    codes, strength = labelled()
    some = [None if i % 3 == 0 else float("nan") if i % 3 == 1 else s for i, s in enumerate((strength > 0).tolist())]
    kept = [i for i in range(120) if i % 3 == 2]
    direction = linear(codes, some, groups=range(120), folds=2)
    assert direction.metadata["images"] == 40
    torch.testing.assert_close(
        direction.vector, linear(codes[kept], [some[i] for i in kept], groups=kept, folds=2).vector
    )


def test_works_without_padding_and_gives_the_same_again() -> None:
    codes, strength = labelled()
    bare = InversionCode(codes.w_plus)
    first, second = (linear(c, (strength > 0).tolist(), folds=2) for c in (codes, bare))
    assert second.padding is None
    assert torch.equal(first.vector, second.vector)
    assert first.metadata == second.metadata


@pytest.mark.parametrize(
    ("codes", "labels", "options", "message"),
    [
        (make_code(40), [0, 1] * 19, {}, "38 labels"),
        (make_code(40), [0, 1] * 20, {"groups": ["a"]}, "1 groups"),
        (make_code(40), [0, 1] * 20, {"groups": ["a", "b"] * 20}, "Only 1 groups .* larger label, but 5 folds need 10"),
        (make_code(40), [1] * 40, {}, "all labels are 1"),
        (make_code(40), [0, 1] * 9 + [None] * 22, {}, "Only 9 images have the larger label"),
        (make_code(40), [None] * 40, {}, "No image"),
        (make_code(40), [0, 1] * 20, {"folds": 1}, "folds must be 2 or more"),
        (make_code(40), [0, 1] * 20, {"layers": "6"}, "among 0-5"),
        (make_code(1).expand(40), [0, 1] * 20, {}, "are the same"),
        (make_code(40), [0, 1] * 20, {"plane": "features"}, "no features"),
    ],
)
def test_what_does_not_fit_is_named(
    codes: InversionCode, labels: list[float | None], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        linear(codes, labels, **options)


def test_missing_package_is_an_error_with_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(MissingPackageError, match=r'pip install "padinv\[editing\]"'):
        linear(make_code(40), [0, 1] * 20)
