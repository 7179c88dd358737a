"""``padinv show PHOTO… -o OUT``: what a code holds, the rings drawn around the feature maps that they pad."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from padinv.bulk import Task, run
from padinv.codes import InversionCode
from padinv.commands.options import add_photographs, bulk_options, photograph_parser, whole_number
from padinv.feature_maps import draw_code
from padinv.networks import Generator


class Show(Task):
    """Leaves codes as they are, and draws them.

    Args:
        tile: height of a picture in pixels.
    """

    def __init__(self, tile: int = 256) -> None:
        super().__init__("show", {"tile": tile})
        self.tile = tile

    def draw(self, generator: Generator, code: InversionCode, row: Sequence[Tensor]) -> Tensor:
        """The row, then the constant and the rings of the code."""
        return draw_code(generator, code, [image[None] for image in row], self.tile)


def main(args: Sequence[str]) -> int:
    """Runs the command.

    Args:
        args: the words behind ``padinv show``.

    Returns:
        0, or 1 if a photograph failed.

    Raises:
        PadInvError: if nothing could be done at all.
    """
    parser = photograph_parser("show", "Draw codes: the padding rings around the generator's feature maps.")
    add_photographs(parser)
    parser.add_argument(
        "--tile", type=whole_number(64, 4096), default=256, metavar="PX", help="height of a picture (default: 256)"
    )  # a ring around 32 px has 34 places
    options = parser.parse_args(args)
    return run(Show(options.tile), options.photographs, bulk_options(options)).exit_code
