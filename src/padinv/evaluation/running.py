"""Evaluates pairs: of files, of a model, or two methods on the same photographs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from padinv.evaluation.measuring import CHEAP, Evaluator, build_measures
from padinv.evaluation.pairs import Settings, Subject
from padinv.evaluation.results import (
    Evaluation,
    distance_of,
    finish,
    means_of,
    set_distance,
    set_distances,
    width_remark,
)
from padinv.exceptions import DataError
from padinv.progress import Progress
from padinv.sources.folders import Names


def evaluate(
    subject: Subject, settings: Settings | None = None, remark: Callable[[str], object] | None = None
) -> tuple[list[Evaluation], list[int]]:
    """Measures all pairs, each once; memory does not grow with their number, but for a few numbers each.

    Args:
        subject: the pairs.
        settings: how they are measured.
        remark: gets a sentence for each pair that cannot be compared.

    Returns:
        An evaluation for each method, and the numbers of the pairs that were compared.

    Raises:
        PadInvError: if nothing can be measured.
    """
    settings = settings or Settings()
    protocol, sampling = settings.protocol, settings.sampling
    resolution = protocol.side or settings.resolution or subject.resolution()
    measures = build_measures(protocol, resolution, **settings.measures)
    evaluators: list[Evaluator] = []
    for _ in subject.methods:  # the features of the photographs are computed once
        evaluators.append(Evaluator(measures, protocol, evaluators[0].photographs if evaluators else None))
    indices: list[int] = []
    problems: list[str] = []
    groups: dict[str, list[str]] = {}
    mse_only = set(measures.per_image) <= set(CHEAP) and measures.features is None
    settings = replace(settings, resolution=resolution, mse_only=mse_only)
    with Progress(len(subject.names), "pairs", file=sys.stderr, every=None, stays=False) as progress:
        for batch in subject.batches(settings):
            for evaluator, views in zip(evaluators, batch.views, strict=False):
                evaluator.update(views)
            for evaluator, mse in zip(evaluators, batch.mse or (), strict=False):
                evaluator.errors.append(torch.tensor(mse))
            for found in batch.groups:
                for division, group in found.items():
                    groups.setdefault(division, []).append(group)
            indices += batch.indices
            problems += batch.problems
            progress.to(progress.done + len(batch.indices) + len(batch.problems))
            for problem in batch.problems if remark else ():
                remark(problem)  # type: ignore[misc]  # mypy does not see the line above
    if not indices:
        told = remark is not None or not problems
        raise DataError("Not one pair of pictures could be compared." if told else problems[0])
    names = Names(subject.names[index] for index in indices)
    results = [
        finish(
            evaluator.values(),
            method,
            protocol,
            resolution,
            names,
            sampling,
            groups,
            set_distances(measures.set_names, evaluator.photographs.read(), evaluator.reconstructions.read(), sampling),
        )
        for evaluator, method in zip(evaluators, subject.methods, strict=True)
    ]
    for result in results:
        result.facts |= {**subject.facts, "features": measures.label or None}
        result.remarks = [*problems, *result.remarks]
    if len(results) == 2:
        results.append(_difference(results, evaluators))
    return results, indices


def _difference(results: Sequence[Evaluation], evaluators: Sequence[Evaluator]) -> Evaluation:
    """The second method less the first, image by image."""
    a, b = results
    sampling, protocol = a.sampling, a.protocol
    with np.errstate(invalid="ignore"):  # PSNR is infinite where both are perfect, and does not differ there
        values = {name: np.where(b.values[name] == of_a, 0, b.values[name] - of_a) for name, of_a in a.values.items()}
    metrics = means_of(values, protocol, sampling)
    real, (made_a, made_b) = evaluators[0].photographs.read(), [one.reconstructions.read() for one in evaluators]
    for name in evaluators[0].measures.set_names:
        if name not in a.metrics:
            continue
        value, distance = b.metrics[name].value - a.metrics[name].value, set_distance(name)

        def statistic(rows: Any, of: Any = distance) -> float:
            return float(of(real[rows], made_b[rows]) - of(real[rows], made_a[rows]))

        metrics[name] = distance_of(statistic, value, real, sampling)
    result = Evaluation(f"{b.method} less {a.method}", protocol, a.resolution, a.names, values, metrics, sampling)
    result.facts = {"a": a.as_json(), "b": b.as_json()}
    if (sentence := width_remark({}, len(a.names))) is not None:
        result.remarks.append(sentence)
    return result
