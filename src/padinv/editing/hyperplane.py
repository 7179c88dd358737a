"""The hyperplane that separates vectors by a label, fitted by scikit-learn and measured on vectors held out.

There are few vectors, and each has many numbers, so a fit needs a penalty; cross-validation chooses it. One number
scales all axes alike: the penalty then favours the axes along which vectors really differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from padinv.exceptions import ConfigError, MissingPackageError

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

INVERSE_PENALTIES = [10.0**k for k in range(-2, 4)]
"""Candidates for C, the inverse of the penalty, for vectors whose mean square distance from their mean is 1."""


@dataclass(frozen=True)
class Hyperplane:
    """normal · x + intercept = 0. The normal has length 1, and points to the larger labels.

    Attributes:
        normal: (D,).
        intercept: a number.
        metadata: how it was found, and its accuracy (see :func:`padinv.editing.linear`).
    """

    normal: Array
    intercept: float
    metadata: dict[str, str | float]


def require_scikit_learn() -> None:
    """Raises MissingPackageError if scikit-learn is not installed, before any work is done."""
    try:
        import sklearn.metrics  # noqa: F401
    except ImportError as error:
        raise MissingPackageError('Linear directions need scikit-learn: pip install "padinv[editing]"') from error


def fit_hyperplane(x: Array, y: Array, groups: Array, folds: int = 5, seed: int = 0) -> Hyperplane:
    """Fits a hyperplane to all vectors, and measures the accuracy of such fits on vectors held out.

    Args:
        x: N vectors (N, D).
        y: N labels. Two different ones are classes, more are a quantity.
        groups: N names; all vectors of a group are either fitted to or tested on.
        folds: rounds of cross-validation, around the choice of the penalty as well as in it.
        seed: the seed of the division into folds.

    Raises:
        ConfigError: if there are too few groups, or the vectors are all the same.
        MissingPackageError: if scikit-learn is not installed.
    """
    require_scikit_learn()
    from sklearn.metrics import balanced_accuracy_score

    check_labels(y, groups, folds)
    quantity, threshold = _threshold(y)
    side = y > threshold
    target = y - threshold if quantity else side
    mean = x.mean(axis=0)
    scale = np.sqrt(((x - mean) ** 2).sum(axis=1).mean())
    if scale == 0:
        raise ConfigError("All these codes are the same: there is nothing to separate.")
    x = (x - mean) / scale
    vectors = x
    x, shares = _onto_own_axes(vectors)

    scores = np.empty(len(y))
    for train, test in _folds(side, groups, folds, seed):
        normal, intercept, _ = _fit(x[train], target[train], side[train], groups[train], folds, seed)
        scores[test] = x[test] @ normal + intercept
    metadata: dict[str, str | float] = {
        "accuracy": float(((scores > 0) == side).mean()),
        "balanced_accuracy": float(balanced_accuracy_score(side, scores > 0)),
        "chance": float(max(side.mean(), 1 - side.mean())),
        "images": len(y),
        "groups": len(np.unique(groups)),
    }
    if quantity:
        metadata |= {"median": threshold, "correlation": float(np.corrcoef(scores, y)[0, 1])}

    normal, intercept, metadata["inverse_penalty"] = _fit(x, target, side, groups, folds, seed)
    normal = normal if shares is None else vectors.T @ (shares @ normal)
    length = np.linalg.norm(normal)
    return Hyperplane(normal / length, float((intercept * scale - normal @ mean) / length), metadata)


def _onto_own_axes(x: Array) -> tuple[Array, Array | None]:
    """Turns N vectors with more than N numbers onto the N axes that they span, which keeps distances and the penalty.

    Returns:
        The vectors (N, K), and the share of each vector in each axis (N, K); None if there was nothing to gain.
    """
    if x.shape[1] <= len(x):
        return x, None
    squares, vectors = np.linalg.eigh(x @ x.T)
    spanned = squares > 1e-10 * squares[-1]  # the rest is rounding
    lengths = np.sqrt(squares[spanned])
    return vectors[:, spanned] * lengths, vectors[:, spanned] / lengths


def _fit(x: Array, target: Array, side: Array, groups: Array, folds: int, seed: int) -> tuple[Array, float, float]:
    """Chooses the penalty by cross-validation, the stronger one on a tie, and fits: normal, intercept and C.

    The best penalty is the one whose scores of held-out vectors rank the two sides best (area under the ROC curve).
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict

    splits = _folds(side, groups, folds, seed)
    classes = target.dtype == bool
    results = []
    for inverse_penalty in INVERSE_PENALTIES:
        if classes:
            # The default of 100 iterations is too few for weak penalties.
            model = LogisticRegression(C=inverse_penalty, class_weight="balanced", max_iter=10_000)
        else:
            model = Ridge(alpha=1 / inverse_penalty)
        scores = cross_val_predict(model, x, target, cv=splits, method="decision_function" if classes else "predict")
        results.append((roc_auc_score(side, scores), -inverse_penalty, model))
    _, negative_inverse, model = max(results, key=lambda result: result[:2])
    model.fit(x, target)
    return np.ravel(model.coef_), float(np.ravel(model.intercept_)[0]), -negative_inverse


def _folds(side: Array, groups: Array, folds: int, seed: int) -> list[tuple[Array, Array]]:
    """Makes indices to fit to and to test on: no group is in both, and both sides are spread as evenly as possible."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(side)), side, groups))


def _threshold(y: Array) -> tuple[bool, float]:
    """Tells whether labels are a quantity, not two classes, and the threshold between smaller and larger ones."""
    values = np.unique(y)
    return len(values) > 2, float(np.median(y) if len(values) > 2 else values.mean())


def check_labels(y: Array, groups: Array, folds: int = 5) -> None:
    """Checks that there are enough labels and groups to fit and test a hyperplane in nested cross-validation.

    Args:
        y: N labels.
        groups: N names.
        folds: rounds of cross-validation.

    Raises:
        ConfigError: if the labels are all the same, or too few groups have the smaller or the larger ones.
    """
    if folds < 2:
        raise ConfigError(f"folds must be 2 or more, not {folds}.")
    if len(np.unique(y)) < 2:
        raise ConfigError(f"A direction leads from one label to another, but all labels are {y[0]:g}.")
    larger = y > _threshold(y)[1]
    kind = "images" if len(np.unique(groups)) == len(groups) else "groups (people)"
    for which, name in ((larger, "larger"), (~larger, "smaller")):
        if (count := len(np.unique(groups[which]))) < 2 * folds:
            raise ConfigError(
                f"Only {count} {kind} have the {name} label, but {folds} folds need {2 * folds}: label more "
                "images, or set folds lower."
            )
