"""``padinv interpolate PHOTO PHOTO… -o OUT``: a moving picture from one code to the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from padinv.bulk import Report, Task, find_photographs, run
from padinv.codes import InversionCode
from padinv.commands.animation import WRITERS, check_format, enlarged
from padinv.commands.options import add_photographs, bulk_options, number, photograph_parser, whole_number
from padinv.editing import interpolate
from padinv.editing.combining import Easing
from padinv.exceptions import DataError, printable
from padinv.images import to_array
from padinv.inversion import Inverter
from padinv.sources.finding import is_code


def frames(
    inverter: Inverter, codes: Sequence[InversionCode], count: int, easing: Easing
) -> Iterator[NDArray[np.uint8]]:
    """The frames from each code to the next, one at a time; where two ways meet, there is one frame.

    Args:
        inverter: with the generator.
        codes: of one image each, two or more.
        count: frames for each way, both ends included.
        easing: "linear" or "smooth".

    Returns:
        (H, W, 3) each.
    """
    path = (
        code
        for i, (a, b) in enumerate(pairwise(codes))
        for code in islice(interpolate(a, b, count, easing), int(i > 0), None)
    )
    while batch := list(islice(path, inverter.batch_size)):
        images = inverter.reconstruct(InversionCode.cat(batch))
        yield from to_array(images)


def main(args: Sequence[str]) -> int:
    """Runs the command.

    Args:
        args: the words behind ``padinv interpolate``.

    Returns:
        0, or 1 if a photograph failed.

    Raises:
        PadInvError: if nothing could be done at all.
    """
    parser = photograph_parser("interpolate", "Make a moving picture that goes from one photograph to the next.")
    add_photographs(parser)
    moving = parser.add_argument_group("moving picture")
    moving.add_argument("--format", choices=WRITERS, default="gif", help="(default: %(default)s)")
    moving.add_argument(
        "--frames", type=whole_number(2, 10_000), default=30, metavar="N", help="from one to the next (default: 30)"
    )
    moving.add_argument("--fps", type=number(1, 100), default=20.0, metavar="N", help="frames a second (default: 20)")
    moving.add_argument("--easing", choices=get_args(Easing), default="smooth", help="(default: %(default)s)")
    moving.add_argument("--loop", action="store_true", help="go back to the first in the end")
    options = parser.parse_args(args)
    check_format(options.format)
    source = find_photographs(options.photographs, codes=True)
    if len(source) == 1 and not is_code(source.name(0)) and options.faces != "all":
        raise DataError("Two photographs or more are needed to go from one to the next, but there is one.")

    def finish(report: Report) -> None:
        path = _animate(report, options.format, options.frames, options.fps, options.easing, options.loop)
        print(printable(str(path)))

    return run(Task(), options.photographs, bulk_options(options), finish).exit_code


def _animate(report: Report, kind: str, count: int, fps: float, easing: Easing, loop: bool) -> Path:
    names = report.names_as_given
    if len(names) < 2:
        raise DataError(f"Two photographs or more are needed to go from one to the next, but there are {len(names)}.")
    codes = [report.inverter.load(report.folder.file("codes", name)).code for name in names]
    pictures = map(enlarged, frames(report.inverter, [*codes, codes[0]] if loop else codes, count, easing))
    return report.folder.write(
        report.folder.path / f"interpolation.{kind}", lambda path: WRITERS[kind](pictures, path, fps)
    )
