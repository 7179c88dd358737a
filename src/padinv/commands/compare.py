"""``padinv compare ROWS -o OUT``: trains encoders alike, each row with each seed, and says what tells them apart."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from padinv.exceptions import NonFiniteLossError
from padinv.options import Command, folder, from_namespace, option, whole_number

if TYPE_CHECKING:
    from padinv.comparison import Comparison, Measured, Report, Run


@dataclass
class Compare(Command):
    """Train encoders with equal budget, data and seeds, and compare them on held-out images.

    Options with dots are those of padinv fit, and hold for all rows: --data.train faces --data.test others
    --schedule.images 60000. The same command goes on where it was stopped.

    Args:
        rows: a YAML list of rows, or one of padinv's own: ladder, open, duel, passes.
        output: folder for runs and results.
        config: preset or file of padinv fit that all rows start from (default: that of the rows, or congress64).
        seeds: number of seeds for each row.
        only: train these rows alone, as on one of several machines; the table has all that are there.
        baseline: row that the others are compared with (default: that of the rows, or the first).
        identity: .onnx file of a recognition network, which tells whether it is the same face.
        device: device that measures: cpu, cuda or mps (default: cuda if there is one).
        keep_memory: on a CPU, keep freed memory for what comes next.
    """

    rows: str = option(metavar="ROWS")
    output: Path = option(read=folder, flags=("-o", "--output"), metavar="OUT")
    config: str | None = option(None, metavar="CONFIG")
    seeds: int = option(3, whole_number(1), metavar="N")
    only: list[str] = option([], nargs="+", metavar="ROW")
    baseline: str | None = option(None, metavar="ROW")
    identity: str | None = option(None, metavar="FILE")
    device: str | None = option(None, metavar="DEVICE")
    keep_memory: bool = option(
        True,
        flags=("--no-keep-memory",),
        help="on a CPU, give freed memory back to the system at once, which is slower",
    )
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def main(cls, args: Sequence[str]) -> int:
        """Runs the command; it takes options with dots for those of ``padinv fit``."""
        if asked := {"-h", "--help", "--help-all"}.intersection(args):  # at once: what follows imports torch
            cls.parser().parse_args([max(asked, key=len)])
        from padinv.comparison.rows import options_in

        words, options = options_in(args)
        namespace = cls.parser().parse_args(words)
        self = from_namespace(cls, namespace)
        self.options = options
        with self.telling(namespace):
            return self.run()

    def run(self) -> int:
        """Checks all rows, trains and measures what is missing, and writes the tables after each run."""
        from padinv.bulk.lock import alone_in
        from padinv.comparison import Ruler, plan, read_comparison

        comparison = read_comparison(self.rows).based_on(self.config, self.baseline)
        wanted = {comparison.row(name).name for name in self.only or [row.name for row in comparison.rows]}
        notes = [] if self.identity else ["Identity is left out: it needs --identity and a recognition network's file."]
        ruler = Ruler(self.identity, self.device, self.keep_memory)
        runs = plan(
            comparison, self.output, self.seeds, self.options, [] if self.keep_memory else ["--keep_memory=false"]
        )
        measured: dict[tuple[str, int], Measured] = {}
        failed: list[str] = []
        for number, run in enumerate(runs, 1):
            if run.row.name in wanted and not run.is_done:
                print(f"{number} of {len(runs)}: {run.row.title}, seed {run.seed}", file=sys.stderr, flush=True)
                try:
                    run.folder.mkdir(parents=True, exist_ok=True)
                    with alone_in(run.folder, "padinv compare"):  # another machine may train other rows
                        code = run.train()
                except NonFiniteLossError as error:  # the other rows can go on
                    failed.append(f"{run.row.name} with seed {run.seed}: {error}")
                    continue
                if code:
                    print("The same command goes on from here.", file=sys.stderr)
                    return code
                measured[run.row.name, run.seed] = ruler.measure(run)
                self.write(comparison, runs, measured, notes)  # a comparison that takes days shows how far it is
            elif run.is_done:
                measured[run.row.name, run.seed] = ruler.measure(run)
        report = self.write(comparison, runs, measured, notes)
        files = [path for path in sorted(self.output.glob("*.*")) if path.is_file()]
        print(report.markdown())
        self.tell({**json.loads(report.json()), "files": files}, *map(str, files))
        if failed:
            raise NonFiniteLossError(f"{len(failed)} of {len(runs)} runs diverged: {' '.join(failed)}")
        return 0

    def write(
        self,
        comparison: Comparison,
        runs: Sequence[Run],
        measured: dict[tuple[str, int], Measured],
        notes: Sequence[str],
    ) -> Report:
        """Writes tables, figure and faces of what has been measured so far."""
        from padinv.comparison import summarize
        from padinv.comparison.drawing import draw_faces, draw_figure, read_strips, save_image

        report = summarize(comparison, measured, notes)
        report.write(self.output)
        if not report.lines:
            return report
        save_image(draw_figure(report), self.output / "comparison.png")
        folders = {run.row.name: run.folder for run in reversed(runs) if (run.row.name, run.seed) in measured}
        strips = [read_strips(folders[line.row.name] / "faces.png") for line in report.lines]
        titles = ["photograph", *(line.row.title for line in report.lines)]
        save_image(draw_faces(titles, [strips[0][0], *(made for _, made in strips)]), self.output / "faces.png")
        return report
