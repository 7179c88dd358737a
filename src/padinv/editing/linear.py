"""A direction from labelled images: the normal of the hyperplane between them (InterFaceGAN, Shen et al. 2020).

The hyperplane lies in latent space. A face's contour and hair are in the padding, and what latents cannot say in the
features, so a step along the normal also moves these as they change with the label on average. What only features say,
such as whether teeth are seen, needs a hyperplane there. A normal in features tells images apart but is no picture of
the difference (Haufe et al. 2014), so then latents, too, move as they change on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from padinv.codes import InversionCode
from padinv.editing.directions import Direction
from padinv.editing.hyperplane import Array, fit_hyperplane
from padinv.editing.layers import Layers, parse_layers
from padinv.editing.seen import HIGHEST, LOWEST
from padinv.exceptions import ConfigError


def linear(
    codes: InversionCode,
    labels: Sequence[float | None],
    *,
    name: str = "linear",
    groups: Sequence[str | int] | None = None,
    confounder: Sequence[str | int] | None = None,
    layers: Layers = None,
    shared: bool = False,
    plane: Literal["latents", "features"] = "latents",
    folds: int = 5,
    seed: int = 0,
    fingerprint: str | None = None,
) -> Direction:
    """Finds the direction along which codes differ by a label, or follow a number.

    With two different labels, a logistic regression separates the two classes, which have the same weight. With more,
    labels are a quantity: a ridge regression predicts it, and the hyperplane is where it predicts the median.

    The accuracy in the metadata is measured on images held out. In each of ``folds`` rounds a model is fitted to the
    images of some groups, with a penalty chosen by cross-validation among them, and tested on the other groups.

    Args:
        codes: the codes of N images, with or without padding.
        labels: N numbers or booleans; images whose label is None or NaN are left out.
        name: the name of the direction.
        groups: N names of who or what is in the image; a group is never fitted to and tested on at once. Each image is
            a group if not given.
        confounder: N names of something that goes with the label but is not meant, such as the kind of photograph. The
            differences between the mean latents of its values are projected out, so that no linear function of the rest
            tells them apart, and padding is compared only within each value.
        layers: which latents it looks at and moves; all if not given.
        shared: whether it has one vector (1, w_dim) for all layers, fitted to the mean of their latents, rather than
            (L, w_dim).
        plane: where the hyperplane lies.
        folds: the number of rounds.
        seed: the seed of the division into folds.
        fingerprint: the fingerprint of the generator that the codes are for.

    Returns:
        The direction, fitted to all labelled images, pointing to the larger label. Strength 1 is one standard deviation
        of the codes along it. In the metadata are ``accuracy`` (of the side of the hyperplane), ``balanced_accuracy``
        (mean over both sides), ``chance`` (the share of the larger side), ``images``, ``groups`` and
        ``inverse_penalty``; for a quantity also its ``median`` and the ``correlation`` with it; and the ``lowest`` and
        ``highest`` strength that lead from the mean code to one of these (:func:`padinv.editing.seen_range`).

    Raises:
        ConfigError: if codes, labels, groups and confounder are not as many, the labels too few or all the same, or
            the codes without the features in which the hyperplane is to lie.
        MissingPackageError: if scikit-learn is not installed.
    """
    y = np.array([np.nan if label is None else float(label) for label in labels])
    people = np.array([str(group) for group in (range(len(codes)) if groups is None else groups)])
    strata = np.array([str(value) for value in (confounder or [""] * len(codes))])
    if not len(codes) == len(y) == len(people) == len(strata):
        counts = f"{len(y)} labels, {len(people)} groups and {len(strata)} values of the confounder"
        raise ConfigError(f"Each of the {len(codes)} codes needs one of each, but there are {counts}.")
    known = np.isfinite(y)
    if not known.any():
        raise ConfigError("No image has a label: labels are numbers, and None where unknown.")
    if plane == "features" and not codes.features:
        raise ConfigError('These codes have no features: plane "features" is for encoders with features.')
    y, people, strata = y[known], people[known], strata[known]
    codes = codes[torch.from_numpy(known)].detach().cpu()

    moved = list(parse_layers(layers, codes.w_plus.shape[1]))
    w = codes.w_plus[:, moved]
    w = w.mean(dim=1, keepdim=True) if shared else w
    features = codes.features or {}
    parts = {0: w} if plane == "latents" else features
    x = _without(torch.cat([part.flatten(1) for part in parts.values()], dim=1).double().numpy(), strata)
    found = fit_hyperplane(x, y, people, folds, seed)
    distances = x @ found.normal + found.intercept
    spread = distances.std()
    places = (distances - distances.mean()) / spread
    weights = _weights_of_the_step(y, distances / spread, strata)

    def step(part: Tensor) -> Tensor:
        moved: Tensor = torch.tensordot(weights.to(part), part, 1)[None]
        return moved

    lengths = [part[0].numel() for part in parts.values()]
    normals = torch.split(torch.from_numpy(found.normal), lengths)
    normal = {key: n.reshape(1, *part.shape[1:]) for n, (key, part) in zip(normals, parts.items(), strict=True)}
    vector = torch.zeros(1 if shared else codes.w_plus.shape[1], w.shape[2])
    vector[[0] if shared else moved] = (spread * normal[0] if plane == "latents" else step(w))[0].float()
    return Direction(
        name,
        vector,
        None if layers is None else tuple(moved),
        float(found.intercept * spread if plane == "latents" else found.intercept / spread),
        "linear",
        fingerprint,
        found.metadata | {LOWEST: float(places.min()), HIGHEST: float(places.max())},
        None if codes.padding is None else codes.padding.map(step),
        {r: step(part) for r, part in features.items()} or None,
        None if plane == "latents" else {r: (n / spread).float() for r, n in normal.items()},
    )


def _without(x: Array, strata: Array) -> Array:
    """Removes the differences between the strata's means from vectors (N, D), so that all means are the same."""
    means = np.stack([x[strata == value].mean(axis=0) for value in np.unique(strata)])
    if len(means) == 1:
        return x
    differences = (means[1:] - means[0]).T
    coefficients = np.linalg.lstsq(differences, (x - means[0]).T, rcond=None)[0]
    without: Array = x - (differences @ coefficients).T
    return without


def _weights_of_the_step(y: Array, strengths: Array, strata: Array) -> Tensor:
    """Computes how much each image counts in the step of parts that change with the label: Σ weightᵢ · partᵢ.

    That is cov(part, y) in units of the strength, cov(strength, y). Labels are centred in each stratum, so that
    differences between strata do not count.
    """
    centred = y.copy()
    for value in np.unique(strata):
        centred[strata == value] -= y[strata == value].mean()
    return torch.from_numpy(centred / (centred @ strengths))
