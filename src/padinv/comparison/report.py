"""The results of a comparison: means over images and seeds, their spread, and intervals of the differences."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from padinv._version import __version__
from padinv.comparison.measuring import HIGHER, METRICS, Measured
from padinv.comparison.rows import Comparison, Row
from padinv.exceptions import ConfigError, DataError
from padinv.files import writing
from padinv.metrics import Interval, paired_difference

RESAMPLES = 10_000
"""How often the bootstrap draws."""


@dataclass(frozen=True)
class Found:
    """What a metric found of a row.

    Args:
        mean: over images and seeds.
        spread: standard deviation of the seeds' means; None with one seed.
        seeds: the mean of each seed.
        difference: to the baseline, image by image over the seeds that both have; None of the baseline itself, and
            while there is no baseline.
    """

    mean: float
    spread: float | None
    seeds: list[float]
    difference: Interval | None = None

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + ("" if self.spread is None else f" ± {self.spread:.4f}")


@dataclass(frozen=True)
class Line:
    """A row of the tables.

    Args:
        row: the row.
        seeds: those that are finished.
        found: metric → what it found.
        milliseconds: the time for an image, the shortest of the seeds.
        numbers: how many the code of an image holds.
        images: how many images were measured.
        images_seen: how many images the training saw.
    """

    row: Row
    seeds: list[int]
    found: dict[str, Found]
    milliseconds: float
    numbers: int
    images: int
    images_seen: int


@dataclass(frozen=True)
class Report:
    """The tables of a comparison, as far as it has come.

    Args:
        comparison: what was compared.
        lines: the rows that have a finished seed, in their order.
        missing: names of those that have none.
        machine: the one on which time was measured.
        notes: what a reader must know, a sentence each.
    """

    comparison: Comparison
    lines: list[Line]
    missing: list[str]
    machine: str
    notes: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> list[str]:
        """The metrics that all rows have, in the order of METRICS."""
        return [name for name in METRICS if all(name in line.found for line in self.lines)]

    def markdown(self) -> str:
        """Two tables: means with their spread, and differences to the baseline with their intervals."""
        headings = [METRICS[name][0] + (" ↑" if METRICS[name][1] == HIGHER else " ↓") for name in self.metrics]
        means = _table(
            ["", *headings, "ms an image", "numbers in the code"],
            [
                [
                    line.row.title,
                    *(str(line.found[name]) for name in self.metrics),
                    f"{line.milliseconds:.1f}",
                    f"{line.numbers:,}",
                ]
                for line in self.lines
            ],
        )
        baseline = self.comparison.row(self.comparison.baseline)
        differences = _table(
            [f"difference to {baseline.title}", *headings],
            [
                [line.row.title, *(_interval(line.found[name].difference) for name in self.metrics)]
                for line in self.lines
                if line.row.name != baseline.name
            ],
        )
        return "\n".join([means, "", differences, "", *(f"{note}\n" for note in self.all_notes)])

    @property
    def all_notes(self) -> list[str]:
        """What the tables show, in sentences."""
        if not self.lines:
            return ["Nothing is finished yet."]
        seeds = sorted({len(line.seeds) for line in self.lines})
        budgets = sorted({line.images_seen for line in self.lines})
        listed = " and ".join(f"{budget:,}" for budget in budgets)
        several = seeds[-1] > 1
        notes = [
            f"{listed} images of training, {' or '.join(map(str, seeds))} {'seeds' if several else 'seed'}, "
            f"{self.lines[0].images} held-out images. "
            + ("± is the standard deviation of the seeds' means. " if several else "")
            + f"In brackets are 95 % bootstrap intervals over images, paired, {RESAMPLES:,} draws. "
            f"Time is that of encoder and generator ({self.machine}).",
        ]
        if self.missing:
            notes.append(f"Not finished: {', '.join(self.missing)}.")
        return notes + self.notes

    def csv(self) -> str:
        """A line for each row; of each metric mean, spread, difference and its interval."""
        text = io.StringIO()
        columns = ["name", "title", "images_seen", "seeds", "images", "milliseconds", "numbers"]
        columns += [f"{m}{end}" for m in self.metrics for end in ("", "_spread", "_difference", "_low", "_high")]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for line in self.lines:
            cells: list[Any] = [line.row.name, line.row.title, line.images_seen, len(line.seeds), line.images]
            cells += [f"{line.milliseconds:.3f}", line.numbers]
            for found in (line.found[name] for name in self.metrics):
                values = (found.mean, found.spread, *(found.difference or (None, None, None)))
                cells += ["" if value is None else f"{value:.6g}" for value in values]
            writer.writerow(cells)
        return text.getvalue()

    def json(self) -> str:
        """Everything, and each row's options."""
        rows = []
        for line in self.lines:
            found = {name: asdict(line.found[name]) for name in self.metrics}
            for name, each in found.items():
                difference = line.found[name].difference
                each["difference"] = None if difference is None else _finite(difference._asdict())
            rows.append({**asdict(line), "row": None, "found": None, **asdict(line.row), "metrics": found})
            for key in ("row", "found"):
                del rows[-1][key]
        content = {
            "source": self.comparison.source,
            "config": self.comparison.config,
            "options": dict(self.comparison.options),
            "baseline": self.comparison.baseline,
            "rows": rows,
            "missing": self.missing,
            "machine": self.machine,
            "padinv": __version__,
            "torch": torch.__version__,
            "notes": self.all_notes,
        }
        return json.dumps(content, indent=1, ensure_ascii=False)

    def write(self, folder: Path) -> list[Path]:
        """Writes ``comparison.md``, ``.csv`` and ``.json`` into a folder, and returns the paths."""
        paths = []
        for ending, text in (("md", self.markdown()), ("csv", self.csv()), ("json", self.json())):
            paths.append(folder / f"comparison.{ending}")
            with writing(paths[-1], ConfigError, parents=True) as path:
                path.write_text(text, encoding="utf-8", errors="backslashreplace")
        return paths


def summarize(
    comparison: Comparison, measured: Mapping[tuple[str, int], Measured], notes: Sequence[str] = ()
) -> Report:
    """Makes the tables.

    Args:
        comparison: what was compared.
        measured: (name of the row, seed) → what was measured.
        notes: what a reader must know, a sentence each.

    Raises:
        DataError: if rows were measured on different images.
    """
    by_row: dict[str, dict[int, Measured]] = {}
    for (name, seed), each in sorted(measured.items()):
        by_row.setdefault(name, {})[seed] = each
    images = [each.names for each in measured.values()]
    if any(names != images[0] for names in images):
        raise DataError("The rows were measured on different images, so they cannot be compared image by image.")
    reference = by_row.get(comparison.baseline, {})
    lines = [
        _line(row, by_row[row.name], {} if row.name == comparison.baseline else reference)
        for row in comparison.rows
        if row.name in by_row
    ]
    missing = [row.name for row in comparison.rows if row.name not in by_row]
    machines = ", ".join(dict.fromkeys(each.machine for each in measured.values()))
    return Report(comparison, lines, missing, machines, list(notes))


def _line(row: Row, own: Mapping[int, Measured], reference: Mapping[int, Measured]) -> Line:
    common = sorted(set(own) & set(reference))
    found: dict[str, Found] = {}
    for name in METRICS:
        if not all(name in each.values for each in own.values()):
            continue
        means = [float(np.mean(each.values[name])) for each in own.values()]
        difference = None
        if common and all(name in reference[seed].values for seed in common):
            ours, theirs = (np.mean([part[s].values[name] for s in common], axis=0) for part in (own, reference))
            difference = paired_difference(ours, theirs, RESAMPLES)
        spread = float(np.std(means, ddof=1)) if len(means) > 1 else None
        found[name] = Found(float(np.mean(means)), spread, means, difference)
    first = next(iter(own.values()))
    fastest = min(each.milliseconds for each in own.values())
    return Line(row, sorted(own), found, fastest, first.numbers, len(first.names), first.images_seen)


def _interval(difference: Interval | None) -> str:
    if difference is None:
        return "–"
    mean, low, high = (f"{value:+.4f}".replace("-", "−") for value in difference)
    return f"{mean} [{low}, {high}]"


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Without infinities, which JSON does not know."""
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
