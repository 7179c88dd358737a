"""``padinv directions [PHOTO…] -o OUT``: directions of editing, found, listed and drawn."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from padinv.bulk import OutputFolder, Report, Task, run
from padinv.bulk.searching import search
from padinv.bulk.writer import write_png
from padinv.checkpoints import load_pair
from padinv.codes import InversionCode
from padinv.commands.edit import check_directions, identify
from padinv.commands.labels import as_numbers, poles, read_labels
from padinv.commands.options import add_photographs, bulk_options, number, photograph_parser, whole_number
from padinv.editing import Direction, ganspace, linear, load_directions, parse_layers, save_directions, sefa
from padinv.editing.hyperplane import check_labels, require_scikit_learn
from padinv.editing.layers import format_layers
from padinv.exceptions import ConfigError, DataError, printable
from padinv.networks import Generator
from padinv.pictures import contact_sheet
from padinv.sources.finding import is_code

STRENGTHS = (-3.0, -1.5, 0.0, 1.5, 3.0)
"""Standard deviations at which a direction is drawn."""


class Directions(Task):
    """Leaves codes as they are, and draws where directions would lead.

    Args:
        directions: a row for each.
        strengths: a column for each.
        layers: which latents to move; those of each direction if not given.
    """

    def __init__(
        self, directions: Sequence[Direction], strengths: Sequence[float] = STRENGTHS, layers: str | None = None
    ) -> None:
        named = [identify(direction) for direction in directions]
        super().__init__("directions", {"directions": named, "strengths": list(strengths), "layers": layers})
        self.directions = directions
        self.strengths = strengths
        self.layers = layers

    def check(self, generator: Generator) -> list[str]:
        """Checks that directions and layers are for this generator.

        Raises:
            PadInvError: if they are not.
        """
        check_directions(self.directions, generator)
        parse_layers(self.layers, generator.num_layers)
        return []

    def draw(self, generator: Generator, code: InversionCode, row: Sequence[Tensor]) -> Tensor:
        """A row for each direction, from the lowest strength to the highest."""
        strengths = torch.tensor(self.strengths)
        moved = [direction.apply(code, strengths, self.layers) for direction in self.directions]
        with torch.inference_mode():
            return contact_sheet([generator.synthesis(*codes.parts) for codes in moved])


class Fit(Task):
    """Leaves codes as they are; a direction is fitted to all of them afterwards.

    Args:
        layers: which latents it will look at; all if not given.
    """

    def __init__(self, layers: str | None = None) -> None:
        super().__init__()
        self.layers = layers

    def check(self, generator: Generator) -> list[str]:
        """Checks that there are such layers.

        Raises:
            ConfigError: if there are not.
        """
        parse_layers(self.layers, generator.num_layers)
        return []


def main(args: Sequence[str]) -> int:
    """Runs the command.

    Args:
        args: the words behind ``padinv directions``.

    Returns:
        0, or 1 if a photograph failed.

    Raises:
        PadInvError: if nothing could be done at all.
    """
    parser = photograph_parser(
        "directions", "Find directions of editing, list them, and draw them.", output_required=False
    )
    add_photographs(parser, nargs="*")
    finding = parser.add_argument_group("directions")
    finding.add_argument("--find", choices=("sefa", "ganspace", "linear"), help="how; otherwise known ones are taken")
    finding.add_argument(
        "--directions",
        metavar="FILE",
        help="where known ones are: .safetensors, .pt, .npy, .npz, a bundled model (default: --model)",
    )
    finding.add_argument(
        "--count", type=whole_number(1), default=8, metavar="N", help="how many sefa and ganspace find (default: 8)"
    )
    finding.add_argument("--layers", metavar="0-7,9", help="which latents to look at, and to move (default: all)")
    finding.add_argument(
        "--strengths", type=number(), nargs="+", default=STRENGTHS, metavar="S", help="to draw, in standard deviations"
    )
    labels = parser.add_argument_group("linear")
    labels.add_argument("--labels", type=Path, metavar="CSV", help="labels of the photographs, by file name")
    labels.add_argument("--column", metavar="NAME", help="which, and the name of the direction: numbers, or two words")
    labels.add_argument("--groups", metavar="NAME", help="column of who is in the photograph, for testing on others")
    labels.add_argument(
        "--confounder", metavar="NAME", help="column of what goes with the label and is not to be taken for it"
    )
    options = parser.parse_args(args)
    if options.find == "linear":
        return _linear(options)
    if given := [f"--{name}" for name in ("labels", "column", "groups", "confounder") if getattr(options, name)]:
        raise ConfigError(f"{given[0]} is for finding a direction from labels: add --find linear, or leave it out.")
    known = [] if options.find else list(load_directions(options.directions or options.model).values())
    if options.output is None:
        if options.find or options.photographs:
            raise ConfigError("--output must be given: the folder for the results.")
        print("\n".join(map(describe, known)))
        return 0
    generator = load_pair(options.model)[1]
    if options.find:
        find = {"sefa": partial(sefa, layers=options.layers), "ganspace": partial(ganspace, layers=options.layers)}
        known = find[options.find](generator, count=options.count)
    task = Directions(known, options.strengths, None if options.find else options.layers)
    task.check(generator)
    if not options.photographs:
        _write(OutputFolder(options.output, ()), task, generator)
        return 0
    return run(
        task, options.photographs, bulk_options(options), lambda report: _write(report.folder, task, generator)
    ).exit_code


def _linear(options: argparse.Namespace) -> int:
    if not (options.photographs and options.labels and options.column and options.output):
        raise ConfigError("--find linear needs photographs, --labels with --column, and --output.")

    require_scikit_learn()
    _, paths = search(options.photographs, options.output)
    photographs = [] if any(map(is_code, paths)) else list(filter(None, paths))  # codes tell theirs when they are read
    _check_labels(options, photographs)

    def finish(report: Report) -> None:
        _write(report.folder, Directions([_fit(report, options)], options.strengths), report.inverter.generator)

    return run(Fit(options.layers), options.photographs, bulk_options(options), finish).exit_code


def _check_labels(options: argparse.Namespace, photographs: Sequence[str]) -> None:
    """Says what is wrong with the labels before the work.

    Raises:
        PadInvError: if there are no such columns, or not enough in them.
    """
    labels, groups, _ = (
        None if column is None else read_labels(options.labels, photographs, column)
        for column in (options.column, options.groups, options.confounder)
    )
    if not photographs or labels is None:
        return
    known = [(y, i) for i, y in enumerate(as_numbers(labels, options.column)) if y is not None]
    if len(known) < len(photographs):
        without = next(path for path, label in zip(photographs, labels, strict=True) if label is None)
        print(
            f"padinv: {len(photographs) - len(known)} of {len(photographs)} photographs have no {options.column!r} in "
            f"{printable(str(options.labels))}, such as {printable(without)}; they are not fitted to.",
            file=sys.stderr,
        )
    if not known:
        raise DataError(f"{options.labels} has no entry in the column {options.column!r} for any of the photographs.")
    if options.faces == "largest":  # else a photograph can be several
        people = [(groups and groups[i]) or photographs[i] for _, i in known]
        check_labels(np.array([y for y, _ in known]), np.array(people))


def _fit(report: Report, options: argparse.Namespace) -> Direction:
    """Fits a hyperplane to the codes of all photographs that have a label."""
    done = [record for record in report.records if "name" in record]
    photographs = [record["photograph"] for record in done for _ in range(record["faces"])]
    inversions = [report.inverter.load(report.folder.file("codes", name)).cpu() for name in report.names]
    recorded = [inversion.names[0] for inversion in inversions]  # of saved codes, whatever their files are called
    label, group, confounder = (
        None if column is None else read_labels(options.labels, photographs, column, recorded=recorded)
        for column in (options.column, options.groups, options.confounder)
    )
    codes = [inversion.code for inversion in inversions]
    labels = label or []
    direction = linear(
        InversionCode.cat(codes),
        as_numbers(labels, options.column),
        name=options.column,
        groups=None if group is None else [who or path for who, path in zip(group, photographs, strict=True)],
        confounder=None if confounder is None else [value or "" for value in confounder],
        layers=options.layers,
        generator=report.inverter.fingerprint,
    )
    return replace(direction, metadata={**direction.metadata, **poles(labels, options.column)})


def _write(folder: OutputFolder, task: Directions, generator: Generator) -> None:
    """Writes the directions and a picture of what they do to the mean image, and lists them."""
    folder.write(folder.path / "directions.safetensors", partial(save_directions, task.directions))
    mean = InversionCode(generator.broadcast(generator.w_avg[None]))
    picture = folder.write(folder.path / "directions.png", partial(write_png, task.draw(generator, mean, [])))
    print("\n".join([*map(describe, task.directions), printable(str(picture))]))


def describe(direction: Direction) -> str:
    """Tells in a line what is known of a direction."""
    layers = "all layers" if direction.layers is None else f"layers {format_layers(direction.layers)}"
    facts = [
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in direction.metadata.items()
    ]
    return ", ".join([f"{direction.name:<14}{direction.kind}", layers, *facts])
