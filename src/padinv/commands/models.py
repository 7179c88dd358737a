"""The command that lists models by name: what is bundled, what a cache holds, and what can be fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from padinv.options import Command, option

if TYPE_CHECKING:
    from padinv.checkpoints.registry import Model


@dataclass
class Models(Command):
    """List the models that padinv knows by name, or tell all about one.

    Args:
        name: the model to tell about.
    """

    name: str | None = option(nargs="?", metavar="NAME")

    def run(self) -> int:
        """Prints them."""
        from padinv.checkpoints.registry import find_model, models  # not for --help: it imports torch

        found = models() if self.name is None else [find_model(self.name)]
        lines = table(found) if self.name is None else details(found[0])
        self.tell([model.as_json() for model in found], *lines)
        return 0


def table(found: Sequence[Model]) -> list[str]:
    """A line for each model, in columns."""
    rows = [("name", "where", "px", "MB", "what", "licence")]
    for model in found:
        side = "–" if model.input_size is None else f"{model.input_size}{'+' * model.smallest}"
        size = "–" if model.size is None else f"{model.size:.1f}"
        rows.append((model.name, model.place, side, size, model.what, model.licence))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def details(model: Model) -> list[str]:
    """All about one model, a line for each fact; it computes the SHA-256 of the files."""
    span, size = model.input_range, model.size
    side = "" if model.input_size is None else f"{model.input_size} px{' and more' * model.smallest}, "
    where = "not on this machine; it is fetched when it is asked for" if model.place == "known" else model.place
    facts = [
        ("name", model.name),
        ("what", model.what),
        ("where", where),
        *(("file", str(path)) for path in model.paths),
        ("source", model.source),
        *(("sha256", f"{digest} {name}") for name, digest in model.hashes().items()),
        *([("sha256", f"{model.sha256} as its publisher states")] if model.sha256 and not model.paths else []),
        ("licence", model.licence),
        *([("images", f"{side}values in [{span[0]:g}, {span[1]:g}]")] if span else []),
        *([("size", f"{size:.1f} MB")] if size is not None else []),
        ("load with", model.load),
    ]
    return [f"{name + ':':<11}{text}" for name, text in facts]
