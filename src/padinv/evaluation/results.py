"""The results of an evaluation: numbers with intervals, as a table, as JSON, and one row for each image."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from padinv._version import __version__
from padinv.evaluation.measuring import HIGHER_IS_BETTER
from padinv.evaluation.protocols import Protocol
from padinv.exceptions import ConfigError, DataError
from padinv.files import writing
from padinv.metrics.bootstrap import bootstrap_interval
from padinv.metrics.distribution import Features, frechet_distance, mean_kernel_distance, subset_interval

Values = NDArray[np.float64]
COUNT = 6
"""How many of the best, and of the worst, a page shows."""

FEW = 100
"""Fewer images than these get a warning that says how wide intervals are."""


class Number(NamedTuple):
    """A number and its interval; the bounds are NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def plain(self) -> dict[str, float | None]:
        """For JSON, which has neither NaN nor infinity: null."""
        return {name: number if math.isfinite(number) else None for name, number in self._asdict().items()}


@dataclass(frozen=True)
class Sampling:
    """How intervals are made.

    Args:
        resamples: how often the bootstrap draws.
        seed: seeds all draws.
        level: how often an interval should hold the expected value.
    """

    resamples: int = 10_000
    seed: int = 0
    level: float = 0.95

    @property
    def percent(self) -> str:
        """The level as it is written: 95%, 99.9%."""
        return f"{100 * self.level:g}%"


@dataclass
class Evaluation:
    """What was measured of one method, or of the difference of two.

    Args:
        method: its name, such as a folder.
        protocol: how it was measured.
        resolution: side of the pictures, in pixels, where the protocol has none of its own.
        names: the names of the images.
        values: metric → a number for each image.
        metrics: metric → the mean, or the distance of the sets, with its interval.
        sampling: how intervals were made.
        groups: name of a division → group of each image, "" for none.
        by_group: division → group → metric → the group's mean, with its interval.
        editing: space of the codes → the plain values of a curve (:class:`padinv.evaluation.editability.Curve`).
        facts: further entries of the JSON, such as the model's fingerprint.
        remarks: sentences on what is left out, or wide.
    """

    method: str
    protocol: Protocol
    resolution: int
    names: Sequence[str]
    values: dict[str, Values]
    metrics: dict[str, Number]
    sampling: Sampling = field(default_factory=Sampling)
    groups: dict[str, list[str]] = field(default_factory=dict)
    by_group: dict[str, dict[str, dict[str, Number]]] = field(default_factory=dict)
    editing: dict[str, dict[str, Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Everything but the single images, as plain values."""
        return {
            "protocol": self.protocol.name,
            "method": self.method,
            "images": len(self.names),
            "resolution": self.resolution,
            "metrics": {name: number.plain() for name, number in self.metrics.items()},
            "higher_is_better": [name for name in self.metrics if name in HIGHER_IS_BETTER],
            "groups": {
                division: {
                    group: {"images": self.groups[division].count(group)}
                    | {name: number.plain() for name, number in numbers.items()}
                    for group, numbers in groups.items()
                }
                for division, groups in self.by_group.items()
            },
            **({"editing": self.editing} if self.editing else {}),
            "level": self.sampling.level,
            "resamples": self.sampling.resamples,
            "seed": self.sampling.seed,
            **self.facts,
            "remarks": self.remarks,
            "versions": versions(),
        }

    def lines(self) -> list[str]:
        """The tables for a terminal."""
        head = ("metric", "value", f"{self.sampling.percent} interval", "better", "protocol")
        rows: list[Sequence[str]] = [head]
        for name, number in self.metrics.items():
            better = "higher" if name in HIGHER_IS_BETTER else "lower"
            rows.append((name, shown(number.value), interval_of(number), better, self.protocol_of(name)))
        count = len(self.names)
        lines = [f"{self.method}: {count} image{'s' * (count != 1)}", "", *_aligned(rows)]
        for division, groups in ((name, groups) for name, groups in self.by_group.items() if groups):
            counts = {group: self.groups[division].count(group) for group in groups}
            cells = [(f"by {division}", *(group if group == GAP else f"{group} ({counts[group]})" for group in groups))]
            for name in self.values:
                numbers = [groups[group][name] for group in groups]
                cells.append((name, *(f"{shown(one.value)} [{interval_of(one)}]" for one in numbers)))
            lines += ["", *_aligned(cells)]
        if self.editing:
            names = ("area", "lec", "editing_fd_alexnet")
            cells = [(f"edit {self.facts.get('edit', '')}".strip(), "likeness at equal change", *names[1:], "reach")]
            for space, curve in self.editing.items():
                numbers = [
                    Number(*(math.nan if one is None else one for one in curve[name].values())) for name in names
                ]
                told = [f"{shown(one.value)} [{interval_of(one)}]" for one in numbers]
                cells.append((space, *told, shown(curve["reach"])))
            lines += ["", *_aligned(cells)]
        return lines

    def protocol_of(self, metric: str) -> str:
        """The protocol under which a number was measured; none for times and sizes."""
        return "" if metric in SPEED else self.protocol.name

    def write_csv(self, path: Path) -> None:
        """Writes one row for each image.

        Raises:
            ConfigError: if it cannot be written.
        """
        with (
            writing(path, ConfigError) as part,
            part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,  # names need not be UTF-8
        ):
            rows = csv.writer(file)
            rows.writerow(["image", *self.values, *self.groups])
            for i, name in enumerate(self.names):
                numbers = [f"{column[i]:.8g}" for column in self.values.values()]
                rows.writerow([name, *numbers, *(groups[i] for groups in self.groups.values())])

    def write_json(self, path: Path) -> None:
        """Writes :meth:`as_json`.

        Raises:
            ConfigError: if it cannot be written.
        """
        with writing(path, ConfigError) as part:
            text = json.dumps(self.as_json(), indent=2, ensure_ascii=False, allow_nan=False)
            part.write_text(f"{text}\n", "utf-8", "backslashreplace")  # an escape that JSON reads as the same name


def ordering_metric(names: Iterable[str]) -> str:
    """The metric that orders images: LPIPS if it was measured, or the first."""
    return "lpips" if "lpips" in (known := list(names)) else known[0]


def extremes(result: Evaluation, count: int = COUNT) -> tuple[str, list[int], list[int]]:
    """The metric that orders images, and the places of those with the lowest and with the highest values."""
    metric = ordering_metric(result.values)
    order = np.argsort(result.values[metric], kind="stable")
    count = min(count, (len(order) + 1) // 2)
    return metric, order[:count].tolist(), order[::-1][:count].tolist()


GAP = "gap"
"""The row of a division that says how far its best group is from its worst."""


SPEED = ("latency_ms", "images_per_second", "numbers_in_code")
"""Numbers of the model, not of its pictures."""


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, in columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def shown(value: float) -> str:
    """A number with four significant digits.

    >>> shown(0.034912), shown(17.8), shown(36096.0), shown(math.nan)
    ('0.03491', '17.80', '36096', '–')
    """
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞" if value > 0 else "-∞"
    value = 0.0 if abs(value) < 5e-7 else value  # six digits after the point are the most that are shown
    digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 4
    return f"{value:.{min(digits, 6)}f}"


def interval_of(number: Number) -> str:
    """Both bounds; a dash where there are none, or nothing between them."""
    if not (math.isfinite(number.low) and math.isfinite(number.high)) or number.low == number.high:
        return "–"
    return f"{shown(number.low)} to {shown(number.high)}"


def versions() -> dict[str, str]:
    """Of what computes the numbers."""
    return {"padinv": __version__, **{name: version(name) for name in ("torch", "torchvision", "pillow", "numpy")}}


def mean_of(values: Values, sampling: Sampling, weights: Values | None = None) -> Number:
    """The mean of finite values, with its bootstrap interval; infinite if one is, without an interval.

    Args:
        values: (N,); NaN is left out.
        sampling: how the interval is made.
        weights: how much each value counts, with a mean of 1.
    """
    values = values if weights is None else values * weights
    values = values[~np.isnan(values)]
    if not len(values) or not np.isfinite(values).all():
        return Number(float(values.mean()) if len(values) else math.nan)
    return Number(*bootstrap_interval(values, sampling.resamples, sampling.seed, sampling.level))


def finish(
    values: Mapping[str, Values],
    method: str,
    protocol: Protocol,
    resolution: int,
    names: Sequence[str],
    sampling: Sampling,
    groups: Mapping[str, Sequence[str]] | None = None,
    sets: Mapping[str, Number] | None = None,
) -> Evaluation:
    """Turns what was measured into numbers with intervals.

    Args:
        values: metric → a number for each image.
        method: what was measured.
        protocol: how it was measured.
        resolution: side of the pictures, in pixels.
        names: the images that were measured.
        sampling: how intervals are made.
        groups: division → group of each image.
        sets: the distances between sets.

    Raises:
        DataError: if not one image was measured.
    """
    if not len(names):
        raise DataError("Not one pair of pictures could be compared.")
    metrics = means_of(values, protocol, sampling) | dict(sets or {})
    divided = {division: list(found) for division, found in (groups or {}).items()}
    by_group = {division: _by_group(values, found, sampling) for division, found in divided.items()}
    result = Evaluation(method, protocol, resolution, names, dict(values), metrics, sampling, divided, by_group)
    if (sentence := width_remark(metrics, len(names))) is not None:
        result.remarks.append(sentence)
    return result


def means_of(values: Mapping[str, Values], protocol: Protocol, sampling: Sampling) -> dict[str, Number]:
    """The mean of each metric, as the protocol takes it."""

    def mean(name: str) -> Number:
        column = values[name]
        return mean_of(column, sampling, protocol.weights(len(column)) if name.startswith("lpips") else None)

    with ThreadPoolExecutor() as pool:  # of ten thousand images each bootstrap takes a third of a second
        return dict(zip(values, pool.map(mean, values), strict=True))


def set_distance(name: str) -> Callable[[Features, Features], float]:
    """The Fréchet distance for "fid" and "fd_…", the kernel distance for "kid" and "kd_…"."""
    return frechet_distance if name.startswith("f") else mean_kernel_distance


def set_distances(names: Sequence[str], a: Features, b: Features, sampling: Sampling) -> dict[str, Number]:
    """The Fréchet and the kernel distance between the sets, with intervals; empty without names or for one image.

    Args:
        names: which distances (:func:`set_distance`).
        a: the features (N, D) of photographs.
        b: the features (N, D) of their reconstructions.
        sampling: how intervals are made.
    """
    found = {}
    for name in names if len(a) > 1 else ():
        distance = set_distance(name)
        found[name] = distance_of(lambda rows, of=distance: of(a[rows], b[rows]), distance(a, b), a, sampling)  # type: ignore[misc]  # mypy has no lambda defaults
    return found


def distance_of(
    statistic: Callable[[NDArray[np.int64]], float], value: float, features: Features, sampling: Sampling
) -> Number:
    """A distance of all pairs with its interval.

    Args:
        statistic: the distance of the pairs with these numbers.
        value: the distance of all.
        features: those of one side, which tell how many there are.
        sampling: how the interval is made.
    """
    count, width = features.shape
    return Number(value, *subset_interval(statistic, value, count, width, sampling.seed, sampling.level))


def width_remark(metrics: Mapping[str, Number], count: int) -> str | None:
    """Says how wide intervals are if there are few images."""
    if count >= FEW:
        return None
    widths = [
        f"{name} {(number.high - number.low) / 2 / abs(number.value):.0%}"
        for name, number in metrics.items()
        if math.isfinite(number.high - number.low) and number.value
    ]
    wide = f": intervals reach this far to both sides of the value: {', '.join(widths)}" if widths else ""
    return f"{count} image{'s are' if count > 1 else ' is'} few{wide}. {FEW} or more say more."


def _by_group(values: Mapping[str, Values], groups: Sequence[str], sampling: Sampling) -> dict[str, dict[str, Number]]:
    """Means by group, in the order in which groups appear in :data:`padinv.evaluation.groups.ORDER`, and the gap."""
    from padinv.evaluation.groups import ORDER

    known = sorted({group for group in groups if group}, key=lambda group: (ORDER.get(group, 99), group))
    labels = np.array(groups)
    found = {
        group: {name: mean_of(column[labels == group], sampling) for name, column in values.items()} for group in known
    }
    if len(found) > 1:
        found[GAP] = {name: _gap([numbers[name] for numbers in found.values()]) for name in values}
    return found


def _gap(numbers: Sequence[Number]) -> Number:
    """The largest mean less the smallest. Groups hold different people, so the widths of intervals add as squares."""
    low, high = min(numbers), max(numbers)
    reach = math.hypot((low.high - low.low) / 2, (high.high - high.low) / 2)
    value = high.value - low.value
    return Number(value, value - reach, value + reach)
