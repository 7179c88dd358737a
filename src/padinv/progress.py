"""Shows how far long work is: by a bar of rich on a terminal, elsewhere by a line from time to time."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from typing_extensions import Self


def terminal_bar(file: TextIO, transient: bool = False) -> Bar:
    """Makes a bar of rich's, whose tasks have a field ``note``.

    Args:
        file: a terminal.
        transient: whether it goes away in the end.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(file=file),
        transient=transient,
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=sys.stderr.isatty(),  # what is said meanwhile stands above the bar; a log stays a log
    )


class Progress:
    """Shows how many of some things are done, as a context.

    Args:
        total: how many there are.
        unit: what they are, in the plural.
        file: where the bar or the lines go; sys.stdout, as it is when the context begins, if not given.
        every: seconds from one line to the next where there is no terminal; None for no lines.
        show: False for neither bar nor lines.
        stays: whether the bar stays there at the end.

    >>> with Progress(2, "photographs", every=0) as progress:
    ...     progress.to(1)
    ...     progress.to(2)
    1 of 2 photographs
    2 of 2 photographs
    """

    def __init__(
        self,
        total: int,
        unit: str,
        *,
        file: TextIO | None = None,
        every: float | None = 30.0,
        show: bool = True,
        stays: bool = True,
    ) -> None:
        self.total, self.unit, self.file, self.every, self.show, self.stays = total, unit, file, every, show, stays
        self.done = 0
        self._bar: Bar | None = None
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        file = self.file = self.file or sys.stdout
        if self.show and file.isatty():
            self._bar = terminal_bar(file, transient=not self.stays)
            self._bar.add_task(self.unit.capitalize(), total=self.total, note="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def to(self, done: int, note: str = "") -> None:
        """Shows that so many are done, at most all of them; the note stands behind the bar."""
        self.done = min(done, self.total)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self.done, note=note)
        elif self.show and self.every is not None and (now := time.monotonic()) - self._told >= self.every:
            print(f"{self.done} of {self.total} {self.unit}", file=self.file, flush=True)
            self._told = now

    def note(self, text: str) -> None:
        """Shows a text behind the bar; no line tells it."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], note=text)
