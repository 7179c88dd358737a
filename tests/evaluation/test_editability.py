import weakref
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from padinv import InversionCode, Inverter
from padinv.editing import Direction, blend
from padinv.evaluation.attributes import AttributeScore, attribute_features
from padinv.evaluation.blends import blend_distances, face_mask
from padinv.evaluation.editability import (
    STRENGTHS,
    Curve,
    EditRecorder,
    area_at_equal_change,
    edit_curves,
    editing_consistency,
)
from padinv.evaluation.results import Sampling
from padinv.exceptions import ConfigError
from padinv.images import load_tensor
from padinv.inversion import Inversion
from padinv.metrics.distribution import FeatureStore
from padinv.metrics.per_image import mean_square
from padinv.sources import open_source
from small_model import small_model

FEW = Sampling(resamples=200)


def test_area_by_hand() -> None:
    """Likeness falls from 1 by the square root of change, 1 - √c / 2: the area is 1 - 1/2 · 2/3, whatever strengths."""
    for power in (1.0, 2.0):  # a method that needs more strength for the same change
        change = np.linspace(0, 1.2, 200)[:, None] ** power * np.ones(5)
        area, reach = area_at_equal_change(change, 1 - np.sqrt(change) / 2, FEW)
        assert reach == 1
        assert area.value == pytest.approx(2 / 3, abs=2e-3)
        assert area.low == pytest.approx(area.value)


def test_area_goes_as_far_as_the_strongest_edit() -> None:
    change = np.array([[0.0, 0.0], [0.2, 0.4]])
    area, reach = area_at_equal_change(change, np.array([[1.0, 1.0], [0.8, 0.6]]), FEW)
    assert reach == pytest.approx(0.3)
    assert area.value == pytest.approx(0.85)
    assert area.low < area.value < area.high
    nearer, reach = area_at_equal_change(change, np.array([[1.0, 1.0], [0.8, 0.6]]), FEW, 0.15)
    assert (reach, nearer.value) == (0.15, pytest.approx(0.925))
    nothing, reach = area_at_equal_change(-change, np.ones((2, 2)), FEW)
    assert np.isnan(nothing.value)
    assert reach == 0


def test_score_is_of_labels_held_out() -> None:
    pytest.importorskip("sklearn", reason="an extra")
    random = np.random.default_rng(0)
    labels = np.arange(80) % 2
    vectors = random.normal(size=(80, 12))
    chance = AttributeScore(vectors, labels)
    assert chance.accuracy < 0.7  # it has learnt its 40 by heart, and that does not count
    vectors[:, 0] += 4 * labels
    score = AttributeScore(vectors, labels)
    assert score.accuracy > 0.9
    rows = np.arange(80)
    found = score.score(vectors, rows)
    assert found[labels == 0].mean() == pytest.approx(0, abs=0.2)
    assert found[labels == 1].mean() == pytest.approx(1, abs=0.2)


def test_score_needs_both_kinds() -> None:
    with pytest.raises(ConfigError, match="3 photographs with the attribute and 20 without"):
        AttributeScore(np.zeros((23, 4)), [1] * 3 + [0] * 20)


@pytest.fixture
def inverter() -> Inverter:
    return Inverter(*small_model(), device="cpu")


def direction(inverter: Inverter) -> Direction:
    return Direction("up", torch.randn(8, generator=torch.Generator().manual_seed(1)))


def test_consistency_of_an_edit_that_is_nothing_is_that_of_inverting_twice(inverter: Inverter) -> None:
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    code = inverter.encode(images)
    code = direction(inverter).apply(code, 0.0)
    first = inverter.reconstruct(code).clamp(-1, 1)
    twice = inverter.reconstruct(direction(inverter).apply(inverter.encode(first), 0.0)).clamp(-1, 1)
    found = editing_consistency(inverter, code, direction(inverter), 0.0)
    torch.testing.assert_close(found, mean_square(twice, first))
    assert (editing_consistency(inverter, code, direction(inverter), 3.0) > 0).all()


def edit_curve(inverter: Inverter, images: torch.Tensor, labels: list[float], strengths: Sequence[float]) -> Curve:
    """All photographs at once."""
    features = attribute_features(inverter)
    recorder = EditRecorder(inverter, features, direction(inverter), lambda a, b: 1 - mean_square(a, b), strengths)
    real, having = FeatureStore(), FeatureStore()
    real.append(vectors := features(images))
    having.append(vectors[[label > 0.5 for label in labels]])
    rows = np.flatnonzero(np.asarray(labels) < 0.5)
    recorder.add(inverter.encode(images[rows]), images[rows])
    return recorder.curve(AttributeScore(real.read(), labels, FEW.seed), rows, having, FEW)


def test_curve(monkeypatch: pytest.MonkeyPatch, inverter: Inverter) -> None:
    pytest.importorskip("sklearn", reason="an extra")
    monkeypatch.setattr("padinv.evaluation.attributes.feature_network", lambda _: (torch.nn.AvgPool2d(4), "mean"))
    images = torch.rand(48, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    labels = [0.0, 1.0] * 24
    images[1::2, 0] = (images[1::2, 0] + 1).clamp(-1, 1)  # the attribute is to be red
    curve = edit_curve(inverter, images, labels, (0.0, 1.0, 2.0))
    assert curve.change[0] == 0
    assert len(curve.kept) == 3
    assert curve.accuracy > 0.6
    assert curve.consistency.value > 0
    assert curve.set_distance.low < curve.set_distance.value < curve.set_distance.high
    assert set(curve.plain()) >= {"area", "lec", "editing_fd_alexnet", "change", "kept", "strength", "reach"}


def test_any_number_of_photographs(monkeypatch: pytest.MonkeyPatch, inverter: Inverter) -> None:
    """One at a time they give what they give together, and no more than a batch of codes is kept."""
    pytest.importorskip("sklearn", reason="an extra")
    monkeypatch.setattr("padinv.evaluation.attributes.feature_network", lambda _: (torch.nn.AvgPool2d(4), "mean"))
    monkeypatch.setattr("padinv.evaluation.editability.perceptual_measure", lambda *_: mean_square)
    images = (torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255).round() / 127.5 - 1
    labels: list[float | None] = [0.0, 1.0] * 19 + [None, 0.0]
    images[1::2, 0] = (images[1::2, 0] + 1).clamp(-1, 1)
    inverter.batch_size = 4
    alive: list[weakref.ref[InversionCode]] = []
    most = 0

    class Subject:
        def __init__(self) -> None:
            self.inverter = inverter

        def inversions(self) -> Iterator[tuple[int, Inversion]]:
            nonlocal most
            for index, image in enumerate(images):
                inversion = inverter.invert(image)
                alive.append(weakref.ref(inversion.code))
                most = max(most, sum(code() is not None for code in alive))
                yield index, inversion

    curves = edit_curves(Subject(), direction(inverter), labels, None, FEW)  # type: ignore[arg-type]
    assert most <= inverter.batch_size + 2
    known = [row for row, label in enumerate(labels) if label is not None]
    together = edit_curve(inverter, images[known], [labels[row] or 0.0 for row in known], STRENGTHS)
    assert set(curves) == {"code", "latents"}
    np.testing.assert_allclose(curves["code"].moved, together.moved, atol=1e-4)
    np.testing.assert_allclose(curves["code"].kept, together.kept, atol=1e-5)
    assert curves["code"].consistency == pytest.approx(together.consistency, rel=1e-3)
    assert curves["code"].set_distance.value == pytest.approx(together.set_distance.value, rel=1e-3, abs=1e-6)


def test_too_few_labels_are_told_before_anything_is_inverted(inverter: Inverter) -> None:
    with pytest.raises(ConfigError, match="1 photographs with the attribute and 0 without"):
        edit_curves(None, direction(inverter), [1.0, None], None, FEW)  # type: ignore[arg-type]


def test_blend_distances() -> None:
    """The contour itself has no distance of layout, the details themselves none of appearance; mixtures are between."""
    source = open_source("congress64-val")
    faces = torch.stack([load_tensor(source.read(number), 64) for number in range(6)])
    contour, details = faces[::2], faces[1::2]
    inside = face_mask(64, 64)
    mixed = inside * details + (1 - inside) * contour
    values = {
        name: blend_distances(image, contour, details)
        for name, image in {"contour": contour, "details": details, "mixed": mixed}.items()
    }
    assert values["contour"]["layout"].eq(0).all()
    assert values["details"]["appearance"].eq(0).all()
    assert (values["mixed"]["layout"] < values["details"]["layout"]).all()
    assert (values["mixed"]["appearance"] < values["contour"]["appearance"]).all()


def test_blends_of_a_model_can_be_measured(inverter: Inverter) -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    code = inverter.encode(images)
    made = inverter.reconstruct(blend(code[0], code[1]))
    larger = [
        torch.nn.functional.interpolate(each[None] if each.ndim == 3 else each, size=64) for each in (made, *images)
    ]
    assert blend_distances(*larger)["layout"].shape == (1,)
