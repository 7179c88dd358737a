"""Measures how well a code can be edited: a reconstruction is worth little if the next edit tears it.

- Consistency (LEC, Tov et al. 2021): invert, edit, invert the edited picture, undo; how far is the picture from the
  first reconstruction?
- Identity kept at equal change: edits of growing strength change an attribute more and more, and the person, too.
  Methods answer the same strength with different changes, so that likeness is read off where the *change* is equal.
- Editing FID by labels: edited pictures against photographs that have the attribute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from padinv.codes import InversionCode
from padinv.editing import Direction
from padinv.evaluation.attributes import AttributeScore, attribute_features, check_labels
from padinv.evaluation.inverted import Inverted
from padinv.evaluation.measuring import identity_measure, perceptual_measure
from padinv.evaluation.results import Number, Sampling, Values, distance_of, mean_of
from padinv.inversion import Inverter
from padinv.metrics.distribution import FeatureStore, frechet_distance
from padinv.metrics.features import FeatureVectors
from padinv.metrics.per_image import Measure, mean_square

STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Of the edits along a curve, in the direction's own unit; 0 is the reconstruction."""

GRID = 21
"""Places between no change and the whole change at which likeness is read off."""


def editing_consistency(
    inverter: Inverter, code: InversionCode, direction: Direction, strength: float = 1.0, measure: Measure = mean_square
) -> Tensor:
    """LEC: the distance of each picture from itself after edit, inversion, and the edit undone; 0 is best.

    Args:
        inverter: encodes and generates.
        code: the codes of B photographs.
        direction: where the edit goes.
        strength: how far it goes; the opposite one undoes it.
        measure: the distance of two pictures.

    Returns:
        (B,)
    """
    edited = to_encoder(inverter, inverter.reconstruct(direction.apply(code, strength)))
    undone = direction.apply(inverter.encode(edited), -strength)
    return measure(inverter.reconstruct(undone).clamp(-1, 1), inverter.reconstruct(code).clamp(-1, 1))


def to_encoder(inverter: Inverter, images: Tensor) -> Tensor:
    """Generated images at the encoder's resolution, in [-1, 1]."""
    return F.adaptive_avg_pool2d(images.clamp(-1, 1), inverter.resolution)


@dataclass
class Curve:
    """Likeness against change, over strength.

    Args:
        strengths: (K,)
        change: (K,), mean change of the attribute; 1 is the whole way from photographs without it to those with it.
        kept: (K,), mean likeness.
        area: under likeness over change, from 0 to ``reach``, divided by it: the mean likeness on the way.
        reach: the change up to which the area goes, 1 unless no strength gets there.
        accuracy: the classifier's on photographs held out, balanced.
        consistency: LEC at strength 1.
        moved: (K, N), the change of each image; the JSON leaves it out.
        alike: (K, N), its likeness; the JSON leaves it out, too.
        set_distance: Fréchet distance of edited pictures and photographs that have the attribute, at strength 2.
    """

    strengths: list[float]
    change: list[float]
    kept: list[float]
    area: Number
    reach: float
    accuracy: float
    consistency: Number
    moved: Values = field(repr=False)
    alike: Values = field(repr=False)
    set_distance: Number = field(default_factory=lambda: Number(math.nan))

    def plain(self) -> dict[str, object]:
        """For JSON."""
        numbers = {"area": self.area, "lec": self.consistency, "editing_fd_alexnet": self.set_distance}
        plain = {name: number.plain() for name, number in numbers.items()}
        facts = {"reach": self.reach, "classifier_balanced_accuracy": self.accuracy}
        return {**plain, **facts, "strength": self.strengths, "change": self.change, "kept": self.kept}


class EditRecorder:
    """Edits codes as they come. Of each image it keeps a few numbers, and the features of its edits in a file.

    Args:
        inverter: encodes and generates.
        features: the network in whose features the attribute is judged.
        direction: towards the attribute.
        likeness: tells how alike two pictures are, 1 for the same.
        strengths: those of the edits, from 0 up.
    """

    def __init__(
        self,
        inverter: Inverter,
        features: FeatureVectors,
        direction: Direction,
        likeness: Measure,
        strengths: Sequence[float] = STRENGTHS,
    ) -> None:
        self.inverter, self.features, self.direction, self.likeness = inverter, features, direction, likeness
        self.strengths = [float(strength) for strength in strengths]
        self.edited = [FeatureStore() for _ in strengths]
        self.alike: list[list[Tensor]] = [[] for _ in strengths]
        self.consistency: list[Tensor] = []

    @torch.inference_mode()
    def add(self, codes: InversionCode, photographs: Tensor) -> None:
        """Edits the codes of photographs (B, 3, R, R) without the attribute, R the encoder's resolution."""
        photographs = photographs.to(self.inverter.device)
        for place, strength in enumerate(self.strengths):
            edited = to_encoder(self.inverter, self.inverter.reconstruct(self.direction.apply(codes, strength)))
            self.edited[place].append(self.features(edited))
            self.alike[place].append(self.likeness(edited, photographs).double().cpu())
            if strength == 1:
                self.consistency.append(editing_consistency(self.inverter, codes, self.direction).double().cpu())

    def curve(self, score: AttributeScore, rows: NDArray[np.int64], having: FeatureStore, sampling: Sampling) -> Curve:
        """What was recorded.

        Args:
            score: judges the attribute.
            rows: the numbers, among the photographs that it was fitted to, of those that were added, in their order.
            having: the features of photographs that have the attribute.
            sampling: how intervals are made.
        """
        changes = np.stack([score.score(store.read(), rows) for store in self.edited])
        moved = changes - changes[0]
        alike = np.stack([torch.cat(each).numpy() for each in self.alike])
        area, reach = area_at_equal_change(moved, alike, sampling)
        strong = self.edited[self.strengths.index(2)].read() if 2 in self.strengths else having.read()[:0]
        return Curve(
            self.strengths,
            moved.mean(axis=1).tolist(),
            alike.mean(axis=1).tolist(),
            area,
            reach,
            score.accuracy,
            mean_of(torch.cat(self.consistency).numpy() if self.consistency else np.zeros(0), sampling),
            moved,
            alike,
            _set_distance(strong, having.read(), sampling),
        )


@torch.inference_mode()
def _record_photographs(
    features: FeatureVectors, photographs: Tensor, has: NDArray[np.bool_], real: FeatureStore, having: FeatureStore
) -> None:
    """Keeps the features of photographs (B, 3, R, R), and once more those of photographs with the attribute."""
    vectors = features(photographs)
    real.append(vectors)
    if has.any():
        having.append(vectors[torch.from_numpy(has).to(vectors.device)])


def edit_curves(
    subject: Inverted, direction: Direction, labels: Sequence[float | None], identity: str | None, sampling: Sampling
) -> dict[str, Curve]:
    """Edits the codes of photographs without the attribute, and their latents alone; measures change and likeness.

    Each photograph is inverted once. Memory does not grow with their number, but for a few numbers each.

    Args:
        subject: photographs and the model.
        direction: towards the attribute.
        labels: 0 or 1 for each photograph; those without a label are left out.
        identity: a recognition model, whose cosine is the likeness; 1 - LPIPS if not given.
        sampling: how intervals are made; its seed divides the photographs into halves, too.

    Returns:
        "code", and, unless codes are latents alone, "latents"; areas of both go up to the same change.

    Raises:
        PadInvError: if there are too few labels, or a network cannot be loaded.
    """
    check_labels(labels)  # before anything is inverted
    inverter = subject.inverter
    likeness: Measure
    if identity is None:
        lpips = perceptual_measure("alex", None, inverter.device)

        def likeness(made: Tensor, target: Tensor) -> Tensor:
            return 1 - lpips(made, target)
    else:
        likeness = identity_measure(identity, inverter.device)
    features = attribute_features(inverter)
    recorders: dict[str, EditRecorder] = {}
    real, having = FeatureStore(), FeatureStore()
    known: list[float] = []
    waiting: list[tuple[InversionCode, Tensor]] = []

    def edit() -> None:
        code, pictures = InversionCode.cat([one for one, _ in waiting]), torch.cat([one for _, one in waiting])
        waiting.clear()
        spaces = {"code": code}
        if len(list(code.tensors())) > 1:
            spaces["latents"] = InversionCode(code.w_plus)
        for name, codes in spaces.items():
            if name not in recorders:
                recorders[name] = EditRecorder(inverter, features, direction, likeness)
            recorders[name].add(codes, pictures)

    for index, inversion in subject.inversions():
        if (label := labels[index]) is None or inversion.targets is None:
            continue
        picture = to_encoder(inverter, inversion.targets)
        _record_photographs(features, picture, np.array([label > 0.5]), real, having)
        known.append(label)
        if label < 0.5:
            waiting.append((inversion.code, picture))
        if len(waiting) == inverter.batch_size:
            edit()
    if waiting:
        edit()
    score = AttributeScore(real.read(), known, sampling.seed)
    rows = np.flatnonzero(np.asarray(known) < 0.5)
    curves = {name: recorder.curve(score, rows, having, sampling) for name, recorder in recorders.items()}
    common = min(curve.reach for curve in curves.values())
    for curve in curves.values() if common > 0 else ():  # areas compare up to the same change only
        curve.area, curve.reach = area_at_equal_change(curve.moved, curve.alike, sampling, common)
    return curves


def area_at_equal_change(change: Values, kept: Values, sampling: Sampling, reach: float = 1.0) -> tuple[Number, float]:
    """The mean likeness on the way from no change to the whole one.

    Args:
        change: (K, N), of each image at each strength; rows rise on average, and the first is 0.
        kept: (K, N), likeness.
        sampling: how the interval is made.
        reach: up to which change, if the strongest edit gets there.

    Returns:
        The area, and how far the change goes: ``reach``, or what the strongest edit reaches.

    >>> change = np.array([[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]])
    >>> area, reach = area_at_equal_change(change, 1 - change / 2, Sampling(100))  # likeness falls from 1 to 1/2
    >>> round(area.value, 6), reach
    (0.75, 1.0)
    """
    reach = float(min(reach, change.mean(axis=1).max()))
    if reach <= 0:
        return Number(math.nan), reach
    return mean_of(likeness_on_the_way(change, kept, reach), sampling), reach


def read_at_equal_change(change: Values, values: Values, places: Values) -> Values:
    """What images have, (M, N), where the mean change is at M places, between two strengths by a straight line.

    Args:
        change: (K, N), of each image at each strength.
        values: (K, N), such as likeness.
        places: (M,), from 0 to the largest mean change.
    """
    mean = np.maximum.accumulate(change.mean(axis=1))
    at = np.interp(places, mean, np.arange(len(mean)))  # in strengths
    low = np.minimum(at.astype(int), len(mean) - 2)
    share = (at - low)[:, None]
    read: Values = (1 - share) * values[low] + share * values[low + 1]
    return read


def likeness_on_the_way(change: Values, kept: Values, reach: float) -> Values:
    """The mean likeness of each image, (N,), from no change to ``reach``, of :func:`area_at_equal_change`."""
    weights = np.full(GRID, 1.0)
    weights[[0, -1]] = 0.5  # the trapezoidal rule
    mean: Values = weights @ read_at_equal_change(change, kept, np.linspace(0, reach, GRID)) / weights.sum()
    return mean


def _set_distance(edited: NDArray[np.floating], real: NDArray[np.floating], sampling: Sampling) -> Number:
    count = min(len(edited), len(real))
    if count < 4:
        return Number(math.nan)
    value = frechet_distance(edited, real)
    return distance_of(lambda rows: frechet_distance(edited[rows], real[rows]), value, real[:count], sampling)
