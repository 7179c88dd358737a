"""``padinv interpolate PHOTO PHOTO… -o OUT``: a moving picture from one code to the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from padinv.commands.animation import WRITERS, check_format, enlarged
from padinv.commands.invert import Invert
from padinv.exceptions import DataError, printable
from padinv.options import number, option, whole_number
from padinv.typing import Easing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from padinv.bulk.options import BulkOptions
    from padinv.bulk.running import Report
    from padinv.codes import InversionCode
    from padinv.inversion import Inverter


@dataclass
class Interpolate(Invert):
    """Make a moving picture that goes from one photograph to the next.

    Args:
        frames: from one to the next.
        fps: frames a second.
        loop: go back to the first in the end.
    """

    name: ClassVar = "invert"  # whose results are the same
    format: str = option("gif", choices=tuple(WRITERS), group="moving picture")
    frames: int = option(30, whole_number(2, 10_000), metavar="N", group="moving picture")
    fps: float = option(20.0, number(1, 100), metavar="N", group="moving picture")
    easing: Easing = option("smooth", choices=get_args(Easing), group="moving picture")
    loop: bool = option(False, group="moving picture")

    @property
    def settings(self) -> dict[str, Any]:
        """None: codes stay as they are."""
        return {}

    def begin(self, photographs: Sequence[str], options: BulkOptions) -> None:
        """Checks that there is more than one photograph, and that the format can be written."""
        from padinv.sources.finding import find_photographs, is_code

        check_format(self.format)
        source = find_photographs(photographs, codes=True)
        if len(source) == 1 and not is_code(source.name(0)) and options.faces != "all":
            raise DataError("Two photographs or more are needed to go from one to the next, but there is one.")

    def finish(self, report: Report) -> None:
        """Writes the moving picture."""
        names = report.names_as_given
        if len(names) < 2:
            raise DataError(
                f"Two photographs or more are needed to go from one to the next, but there are {len(names)}."
            )
        codes = [report.inverter.load(report.folder.file("codes", name)).code for name in names]
        codes += codes[: int(self.loop)]
        pictures = map(enlarged, frames(report.inverter, codes, self.frames, self.easing))
        path = report.folder.write(
            report.folder.path / f"interpolation.{self.format}",
            lambda path: WRITERS[self.format](pictures, path, self.fps),
        )
        print(printable(str(path)))


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
    from padinv.codes import InversionCode
    from padinv.editing import interpolate
    from padinv.images import to_array

    path = (
        code
        for i, (a, b) in enumerate(pairwise(codes))
        for code in islice(interpolate(a, b, count, easing), int(i > 0), None)
    )
    while batch := list(islice(path, inverter.batch_size)):
        images = inverter.reconstruct(InversionCode.cat(batch))
        yield from to_array(images)
