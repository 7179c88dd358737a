"""``padinv directions [PHOTO…] -o OUT``: directions of editing, found, listed and drawn."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from padinv.bulk.task import BulkOptions, Task
from padinv.commands.photographs import check_directions, identify
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
        find: method that finds new directions; without it, known ones are taken.
        directions: where the known ones are: .safetensors, .pt, .npy, .npz, a bundled model (default: --model).
        count: number of directions that sefa and ganspace find.
        layers: which latents to look at, and to move (default: all).
        strengths: strengths that are drawn, in standard deviations.
        labels: table with labels of the photographs, by file name.
        column: column of the label, numbers or two words; it names the direction.
        groups: column that says who is in the photograph, so that the test is on other people.
        confounder: column of a property that goes with the label and must not be taken for it.
        plane: where the hyperplane lies (default: latents).
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
    plane: Literal["latents", "features"] | None = option(
        None, choices=("latents", "features"), group="linear", rare=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("labels", "column", "groups", "confounder", "plane")
        about_labels = (name for name in names if getattr(self, name))
        if self.find != "linear" and (name := next(about_labels, None)):
            raise ConfigError(f"--{name} is for finding a direction from labels: add --find linear, or leave it out.")
        self.known: list[Direction] = []

    @classmethod
    def main(cls, args: Sequence[str]) -> int:
        """Runs the command, which does less without photographs and without ``--output``."""
        namespace = cls.parser().parse_args(args)
        linear, photographs = namespace.find == "linear", namespace.photographs
        self = from_namespace(Fit if linear else cls, namespace)
        if linear and not (photographs and self.labels and self.column and namespace.output):
            raise ConfigError("--find linear needs photographs, --labels with --column, and --output.")
        if namespace.output is None and (self.find or photographs):
            raise ConfigError("--output must be given: the folder for the results.")
        with self.telling(namespace):
            if namespace.output is None:
                from padinv.editing import load_directions

                self.known = list(load_directions(self.directions or namespace.model).values())
                self.tell(self.outcome(), *map(describe, self.known))
                return 0
            options = from_namespace(BulkOptions, namespace)
            if photographs:
                return self.run_on(photographs, options)
            from padinv.bulk.outputs import OutputFolder

            self.write(OutputFolder(options.output, ()), self.load(options))
            self.tell({"output": options.output, **self.outcome()})
        return 0

    def outcome(self, report: Report | None = None) -> dict[str, Any]:
        """The directions."""
        facts = [{"name": each.name, "kind": each.kind, "layers": each.layers, **each.metadata} for each in self.known]
        return {"command": "directions", "directions": facts}

    @property
    def settings(self) -> dict[str, Any]:
        """Names the directions by their content, since a file may change."""
        named = [identify(direction) for direction in self.known]
        return {"directions": named, "strengths": list(self.strengths), "layers": self.moved}

    @property
    def moved(self) -> str | None:
        """The latents to move; a direction that was just found says so itself."""
        return None if self.find else self.layers

    def begin(self, photographs: Sequence[str], options: BulkOptions) -> None:
        """Loads or finds the directions."""
        self.load(options)

    def load(self, options: BulkOptions) -> Generator:
        """Loads or finds the directions, checks that they are for the generator, and returns it."""
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
        """Checks that the directions are for this generator, too."""
        check_directions(self.known, generator)
        return super().check(generator)

    def draw(self, generator: Generator, code: InversionCode, row: Sequence[Tensor]) -> Tensor:
        """Draws a row of pictures for each direction."""
        return self.draw_rows(generator, code)

    def draw_rows(self, generator: Generator, code: InversionCode) -> Tensor:
        """Draws what each direction does to a code, in a row from the first strength to the last."""
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
        picture = folder.write(folder.path / "directions.png", partial(write_png, self.draw_rows(generator, mean)))
        print("\n".join([*map(describe, self.known), printable(str(picture))]))


@dataclass
class Fit(Directions):
    """Inverts photographs, and fits a direction to all of their codes and their labels afterwards."""

    name: ClassVar = "invert"  # so that results of either count as done
    settings: ClassVar[dict[str, Any]] = {}  # codes stay as they are
    check = Task.check
    draw = Task.draw

    def begin(self, photographs: Sequence[str], options: BulkOptions) -> None:
        """Checks before the work that the table has the columns, and enough in them."""
        import numpy as np

        from padinv.bulk.photographs import search
        from padinv.commands.labels import as_numbers
        from padinv.editing.hyperplane import check_labels, require_scikit_learn
        from padinv.sources.finding import is_code

        require_scikit_learn()
        found = [path for path in search(photographs, options.output)[1] if path]
        if any(map(is_code, found)):  # saved codes name their photographs, but only when they are read
            self._read([])
            return
        labels, groups, _ = self._read(found)
        column = str(self.column)
        known = [(y, i) for i, y in enumerate(as_numbers(labels, column)) if y is not None]
        if len(known) < len(found):
            without = next(path for path, label in zip(found, labels, strict=True) if label is None)
            print(
                f"padinv: {len(found) - len(known)} of {len(found)} photographs lack {column!r} in "
                f"{printable(str(self.labels))}, such as {printable(without)}; they are not fitted to.",
                file=sys.stderr,
            )
        if not known:
            raise DataError(f"{self.labels} has no entry in the column {column!r} for any of the photographs.")
        if options.faces == "largest":  # otherwise a photograph can have several faces
            people = [(groups and groups[i]) or found[i] for _, i in known]
            check_labels(np.array([y for y, _ in known]), np.array(people))

    def _read(
        self, photographs: Sequence[str], recorded: Sequence[str] | None = None
    ) -> tuple[list[str | None], list[str | None] | None, list[str | None] | None]:
        """The labels to fit to, the groups and the confounder of these photographs."""
        from padinv.commands.labels import read_labels

        table = self.labels
        assert table is not None  # main has checked it
        label, *others = (
            None if column is None else read_labels(table, photographs, column, recorded=recorded)
            for column in (self.column, self.groups, self.confounder)
        )
        return label or [], others[0], others[1]

    def finish(self, report: Report) -> None:
        """Fits a hyperplane to the codes of all photographs that have a label."""
        from padinv.codes import InversionCode
        from padinv.commands.labels import as_numbers, poles
        from padinv.editing import linear

        photographs = [record["photograph"] for record in report.done for _ in range(record["faces"])]
        inversions = [report.inverter.load(report.folder.file("codes", name)).cpu() for name in report.names]
        recorded = [inversion.names[0] for inversion in inversions]  # saved codes name their photographs themselves
        labels, group, confounder = self._read(photographs, recorded)
        column = str(self.column)
        direction = linear(
            InversionCode.cat([inversion.code for inversion in inversions]),
            as_numbers(labels, column),
            name=column,
            groups=None if group is None else [who or path for who, path in zip(group, photographs, strict=True)],
            confounder=None if confounder is None else [value or "" for value in confounder],
            layers=self.layers,
            plane=self.plane or "latents",
            fingerprint=report.inverter.fingerprint,
        )
        metadata = {**direction.metadata, **poles(labels, column)}
        self.known = [replace(direction, metadata=metadata)]
        super().finish(report)


def describe(direction: Direction) -> str:
    """Describes a direction in a line."""
    from padinv.editing.layers import format_layers

    layers = "all layers" if direction.layers is None else f"layers {format_layers(direction.layers)}"
    facts = [
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in direction.metadata.items()
    ]
    return ", ".join([f"{direction.name:<14}{direction.kind}", layers, *facts])
