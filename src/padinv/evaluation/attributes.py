"""Measures how much of an attribute a picture has, by a classifier in AlexNet's features, which no model here has seen.

Each photograph is judged by a classifier that was fitted to labels of others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from padinv.editing.hyperplane import fit_hyperplane
from padinv.evaluation.results import Values
from padinv.exceptions import ConfigError
from padinv.inversion import Inverter
from padinv.metrics.distribution import parts_of
from padinv.metrics.features import FeatureVectors, feature_network

MOST_FITTED = 4096
"""Photographs that a classifier of an attribute is fitted to: more say the same, and would have to be in memory."""


def attribute_features(inverter: Inverter) -> FeatureVectors:
    """AlexNet's features, in which attributes are judged."""
    return FeatureVectors(feature_network("alexnet")[0], inverter.resolution).to(inverter.device)


class AttributeScore:
    """How much of an attribute pictures have: 0 where photographs without it are on average, 1 where those with it are.

    Args:
        vectors: (N, D), features of photographs.
        labels: (N,), 0 or 1.
        seed: seeds the division into halves.

    Attributes:
        accuracy: balanced, on photographs held out.

    Raises:
        ConfigError: if there are fewer than 10 photographs of each kind.
        MissingPackageError: without scikit-learn.
    """

    def __init__(self, vectors: NDArray[np.floating], labels: Sequence[float], seed: int = 0) -> None:
        check_labels(labels)
        has = np.asarray(labels) > 0.5
        self.half = np.zeros(len(has), dtype=np.int64)
        random = np.random.default_rng(seed)
        for kind in (has, ~has):
            rows = random.permutation(np.flatnonzero(kind))
            self.half[rows[len(rows) // 2 :]] = 1
        self.planes: list[tuple[NDArray[np.float64], float]] = []
        right = []
        for half in (0, 1):
            fit, held_out = self.half != half, self.half == half
            rows = random.permutation(np.flatnonzero(fit))[:MOST_FITTED] if fit.sum() > MOST_FITTED else fit
            count = int(has[rows].size)
            folds = max(2, min(5, has[rows].sum() // 2, (~has[rows]).sum() // 2))  # each tests two of a kind
            plane = fit_hyperplane(vectors[rows], has[rows].astype(float), np.arange(count), folds=folds, seed=seed)
            scores = np.concatenate([part @ plane.normal for part in parts_of(vectors)])
            low, high = scores[fit & ~has].mean(), scores[fit & has].mean()
            self.planes.append((plane.normal / (high - low), float(-low / (high - low))))
            judged = (scores[held_out] - low) / (high - low) > 0.5
            right += [(judged == has[held_out])[has[held_out] == kind].mean() for kind in (False, True)]
        self.accuracy = float(np.mean(right))

    def score(self, vectors: NDArray[np.floating], rows: NDArray[np.int64]) -> Values:
        """The scores (B,) of pictures of the photographs with these numbers, by the half that has not seen them."""
        normals, offsets = (np.stack(each) for each in zip(*self.planes, strict=True))
        halves, scores = self.half[rows], np.empty(len(rows))
        for half in (0, 1):  # a part of the vectors at a time: they may lie in a file
            for part in parts_of(np.flatnonzero(halves == half)):
                scores[part] = vectors[part] @ normals[half] + offsets[half]
        return scores


def check_labels(labels: Sequence[float | None]) -> None:
    """Checks that there are 10 photographs of each kind.

    Raises:
        ConfigError: if there are fewer.
    """
    has, lacks = (sum(label is not None and bool(label > 0.5) is kind for label in labels) for kind in (True, False))
    if min(has, lacks) < 10:
        raise ConfigError(
            f"There are {has} photographs with the attribute and {lacks} without: a classifier needs 10 of each."
        )
