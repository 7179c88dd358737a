"""``padinv invert PHOTO… -o OUT``: photographs to codes, and what the generator makes of them."""

from __future__ import annotations

from collections.abc import Sequence

from padinv.bulk import Task, run
from padinv.commands.options import add_photographs, bulk_options, photograph_parser


def main(args: Sequence[str]) -> int:
    """Runs the command.

    Args:
        args: the words behind ``padinv invert``.

    Returns:
        0, or 1 if a photograph failed.

    Raises:
        PadInvError: if nothing could be done at all.
    """
    parser = photograph_parser("invert", "Find the codes from which the generator makes photographs again.")
    add_photographs(parser)
    options = parser.parse_args(args)
    return run(Task(), options.photographs, bulk_options(options)).exit_code
