"""``padinv directions [PHOTO…] -o OUT``: directions of editing, found, listed and drawn."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from padinv.bulk.task import BulkOptions, Task
from padinv.commands.photographs import Invert, check_directions, identify
from padinv.exceptions import ConfigError, DataError, printable
from padinv.options import file, from_namespace, number, option, whole_number

if TYPE_CHECKING:
    from torch import Tensor

    from padinv.bulk.outputs import OutputFolder
    from padinv.bulk.running import Report
    from padinv.codes import InversionCode
    from padinv.editing import Direction
    from padinv.networks import Generator


@dataclass
class Directions(Task):
    """Find directions of editing, list them, and draw them.

    Args:
        find: how; otherwise known ones are taken.
        directions: where known ones are: .safetensors, .pt, .npy, .npz, a bundled model (default: --model).
        count: how many sefa and ganspace find.
        layers: which latents to look at, and to move (default: all).
        strengths: to draw, in standard deviations.
        labels: labels of the photographs, by file name.
        column: which, and the name of the direction: numbers, or two words.
        groups: column of who is in the photograph, for testing on others.
        confounder: column of what goes with the label and is not to be taken for it.
    """

    output_required: ClassVar = False
    find: str | None = option(None, choices=("sefa", "ganspace", "linear"), group="directions")
    directions: str | None = option(None, metavar="FILE", group="directions")
    count: int = option(8, whole_number(1), metavar="N", group="directions")
    layers: str | None = option(None, metavar="0-7,9", group="directions")
    strengths: list[float] = option([-3.0, -1.5, 0.0, 1.5, 3.0], number(), nargs="+", metavar="S", group="directions")
    labels: Path | None = option(None, file, metavar="CSV", group="linear")
    column: str | None = option(None, metavar="NAME", group="linear")
    groups: str | None = option(None, metavar="NAME", group="linear")
    confounder: str | None = option(None, metavar="NAME", group="linear")

    def __post_init__(self) -> None:
        about_labels = (name for name in ("labels", "column", "groups", "confounder") if getattr(self, name))
        if self.find != "linear" and (name := next(about_labels, None)):
            raise ConfigError(f"--{name} is for finding a direction from labels: add --find linear, or leave it out.")
        self.known: list[Direction] = []

    @classmethod
    def main(cls, args: Sequence[str]) -> int:
        """Runs the command, which does less without photographs and without ``--output``."""
        namespace = cls.parser().parse_args(args)
        self, photographs = from_namespace(cls, namespace), namespace.photographs
        if self.find == "linear" and not (photographs and self.labels and self.column and namespace.output):
            raise ConfigError("--find linear needs photographs, --labels with --column, and --output.")
        if namespace.output is None:
            from padinv.editing import load_directions

            if self.find or photographs:
                raise ConfigError("--output must be given: the folder for the results.")
            self.known = list(load_directions(self.directions or namespace.model).values())
            with self.telling(namespace):
                self.tell(self.facts_of_all(), *map(describe, self.known))
            return 0

        from padinv.bulk.outputs import OutputFolder

        options = from_namespace(BulkOptions, namespace)
        task = Fit(self) if self.find == "linear" else self
        with task.telling(namespace):
            if photographs:
                return task.run_on(photographs, options)
            self.write(OutputFolder(options.output, ()), self.load(options))
            self.tell({"output": options.output, **self.facts_of_all()})
        return 0

    def facts_of_all(self) -> dict[str, Any]:
        """The directions, as ``--json`` tells of them."""
        return {
            "command": "directions",
            "directions": [
                {"name": each.name, "kind": each.kind, "layers": each.layers, **each.metadata} for each in self.known
            ],
        }

    def outcome(self, report: Report) -> dict[str, Any]:
        """The directions."""
        return self.facts_of_all()

    @property
    def settings(self) -> dict[str, Any]:
        """Names directions by their content, since a file may change."""
        named = [identify(direction) for direction in self.known]
        return {"directions": named, "strengths": list(self.strengths), "layers": self.moved}

    @property
    def moved(self) -> str | None:
        """The latents to move: of those that were found, their own."""
        return None if self.find else self.layers

    def begin(self, photographs: Sequence[str], options: BulkOptions) -> None:
        """Loads or finds the directions."""
        self.load(options)

    def load(self, options: BulkOptions) -> Generator:
        """Loads or finds the directions, and checks that they are for the generator, which it returns."""
        from padinv.checkpoints import load_pair
        from padinv.editing import ganspace, load_directions, sefa

        known = [] if self.find else list(load_directions(self.directions or options.model).values())
        generator = load_pair(options.model, options.generator, options.sha256)[1]
        if self.find:
            find = sefa if self.find == "sefa" else ganspace
            known = find(generator, count=self.count, layers=self.layers)
        self.known = known
        self.check(generator)
        return generator

    def check(self, generator: Generator) -> list[str]:
        """Checks that directions and layers are for this generator.

        Raises:
            PadInvError: if they are not.
        """
        from padinv.editing import parse_layers

        check_directions(self.known, generator)
        parse_layers(self.moved, generator.num_layers)
        return []

    def draw(self, generator: Generator, code: InversionCode, row: Sequence[Tensor]) -> Tensor:
        """Draws a row for each direction, from the lowest strength to the highest."""
        import torch

        from padinv.pictures import contact_sheet

        strengths = torch.tensor(self.strengths)
        moved = [direction.apply(code, strengths, self.moved) for direction in self.known]
        with torch.inference_mode():
            return contact_sheet([generator.synthesis(*codes.parts) for codes in moved])

    def finish(self, report: Report) -> None:
        """Writes the directions beside the results."""
        self.write(report.folder, report.inverter.generator)

    def write(self, folder: OutputFolder, generator: Generator) -> None:
        """Writes the directions and a picture of what they do to the mean image, and lists them."""
        from padinv.bulk.writer import write_png
        from padinv.codes import InversionCode
        from padinv.editing import save_directions

        folder.write(folder.path / "directions.safetensors", partial(save_directions, self.known))
        mean = InversionCode(generator.broadcast(generator.w_avg[None]))
        picture = folder.write(folder.path / "directions.png", partial(write_png, self.draw(generator, mean, [])))
        print("\n".join([*map(describe, self.known), printable(str(picture))]))


class Fit(Invert):
    """Leaves codes as they are; a direction is fitted to all of them afterwards, and drawn.

    Args:
        directions: the command, which has the options.
    """

    name: ClassVar = "invert"  # so that results of either count as done

    def __init__(self, directions: Directions) -> None:
        self.directions = directions

    def begin(self, photographs: Sequence[str], options: BulkOptions) -> None:
        """Checks the labels before the work."""
        from padinv.bulk.photographs import search
        from padinv.editing.hyperplane import require_scikit_learn
        from padinv.sources.finding import is_code

        require_scikit_learn()
        _, paths = search(photographs, options.output)
        named = (
            [] if any(map(is_code, paths)) else list(filter(None, paths))
        )  # saved codes name their photographs when they are read
        self._check_labels(named, one_each=options.faces == "largest")

    def _check_labels(self, photographs: Sequence[str], one_each: bool) -> None:
        """Raises PadInvError if there are no such columns, or not enough in them."""
        import numpy as np

        from padinv.commands.labels import as_numbers
        from padinv.editing.hyperplane import check_labels

        labels, groups, _ = self._read(photographs)
        if not photographs:
            return
        column = str(self.directions.column)
        known = [(y, i) for i, y in enumerate(as_numbers(labels, column)) if y is not None]
        if len(known) < len(photographs):
            without = next(path for path, label in zip(photographs, labels, strict=True) if label is None)
            print(
                f"padinv: {len(photographs) - len(known)} of {len(photographs)} photographs lack {column!r} in "
                f"{printable(str(self.directions.labels))}, such as {printable(without)}; they are not fitted to.",
                file=sys.stderr,
            )
        if not known:
            raise DataError(
                f"{self.directions.labels} has no entry in the column {column!r} for any of the photographs."
            )
        if one_each:  # otherwise a photograph can have several faces
            people = [(groups and groups[i]) or photographs[i] for _, i in known]
            check_labels(np.array([y for y, _ in known]), np.array(people))

    def _read(
        self, photographs: Sequence[str], recorded: Sequence[str] | None = None
    ) -> tuple[list[str | None], list[str | None] | None, list[str | None] | None]:
        """The column to fit to, the groups and the confounder, of these photographs."""
        from padinv.commands.labels import read_labels

        table = self.directions.labels
        assert table is not None  # main has checked it
        label, *others = (
            None if column is None else read_labels(table, photographs, column, recorded=recorded)
            for column in (self.directions.column, self.directions.groups, self.directions.confounder)
        )
        return label or [], others[0], others[1]

    def check(self, generator: Generator) -> list[str]:
        """Checks that there are such layers.

        Raises:
            ConfigError: if there are not.
        """
        from padinv.editing import parse_layers

        parse_layers(self.directions.layers, generator.num_layers)
        return []

    def finish(self, report: Report) -> None:
        """Fits a hyperplane to the codes of all photographs that have a label."""
        from padinv.codes import InversionCode
        from padinv.commands.labels import as_numbers, poles
        from padinv.editing import linear

        done = [record for record in report.records if "name" in record]
        photographs = [record["photograph"] for record in done for _ in range(record["faces"])]
        inversions = [report.inverter.load(report.folder.file("codes", name)).cpu() for name in report.names]
        recorded = [inversion.names[0] for inversion in inversions]  # saved codes name their photographs themselves
        labels, group, confounder = self._read(photographs, recorded)
        column = str(self.directions.column)
        direction = linear(
            InversionCode.cat([inversion.code for inversion in inversions]),
            as_numbers(labels, column),
            name=column,
            groups=None if group is None else [who or path for who, path in zip(group, photographs, strict=True)],
            confounder=None if confounder is None else [value or "" for value in confounder],
            layers=self.directions.layers,
            fingerprint=report.inverter.fingerprint,
        )
        metadata = {**direction.metadata, **poles(labels, column)}
        self.directions.known = [replace(direction, metadata=metadata)]
        self.directions.finish(report)

    def outcome(self, report: Report) -> dict[str, Any]:
        """The direction."""
        return self.directions.outcome(report)


def describe(direction: Direction) -> str:
    """Describes a direction in a line."""
    from padinv.editing.layers import format_layers

    layers = "all layers" if direction.layers is None else f"layers {format_layers(direction.layers)}"
    facts = [
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in direction.metadata.items()
    ]
    return ", ".join([f"{direction.name:<14}{direction.kind}", layers, *facts])
