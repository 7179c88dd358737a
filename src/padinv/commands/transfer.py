"""``padinv transfer BEFORE AFTER TARGET… -o OUT``: the edit between two photographs, done to others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from padinv.bulk import Task, run
from padinv.codes import InversionCode
from padinv.commands.options import add_photograph, add_photographs, bulk_options, number, photograph_parser
from padinv.editing import transfer
from padinv.networks import Generator
from padinv.pictures import contact_sheet

FARTHEST = 4.0
"""Beyond so many times the difference between two pictures a user is told so."""


class Transfer(Task):
    """Adds to each code the difference between two others.

    Args:
        before: a photograph, or saved code.
        after: the same, edited.
        strength: of the difference in latents.
        padding_strength: of the difference in padding; the same if not given.
    """

    def __init__(self, before: str, after: str, strength: float = 1.0, padding_strength: float | None = None) -> None:
        settings = {"strength": strength, "padding_strength": padding_strength}
        super().__init__("transfer", settings, [before, after])
        self.strength = strength
        self.padding_strength = padding_strength

    def check(self, generator: Generator) -> list[str]:
        """Tells of strengths that lead far beyond the pair."""
        strengths = (self.strength, self.strength if self.padding_strength is None else self.padding_strength)
        far = [strength for strength in strengths if abs(strength) > FARTHEST]
        return [f"{far[0]:g} times the difference of the pair is far: what comes out may be no face."] if far else []

    def prepare(self, generator: Generator, references: Sequence[InversionCode]) -> None:
        """Remembers the pair."""
        self.before, self.after = references
        with torch.inference_mode():
            self.pictures = [generator.synthesis(*code.parts)[0].float() for code in references]

    def apply(self, code: InversionCode) -> InversionCode:
        """Edits each as the pair was."""
        return transfer(self.before, self.after, code, self.strength, self.padding_strength)

    def draw(self, generator: Generator, code: InversionCode, row: Sequence[Tensor]) -> Tensor:
        """The pair, then the row."""
        return contact_sheet([torch.stack([*self.pictures, *row])])


def main(args: Sequence[str]) -> int:
    """Runs the command.

    Args:
        args: the words behind ``padinv transfer``.

    Returns:
        0, or 1 if a photograph failed.

    Raises:
        PadInvError: if nothing could be done at all.
    """
    parser = photograph_parser("transfer", "Do to photographs what was done between two others.")
    add_photograph(parser, "before")
    add_photograph(parser, "after")
    add_photographs(parser, "targets", "TARGET")
    edits = parser.add_argument_group("transfer")
    edits.add_argument("--strength", type=number(), default=1.0, metavar="S", help="of the edit (default: 1)")
    edits.add_argument("--padding-strength", type=number(), metavar="S", help="of its padding (default: --strength)")
    options = parser.parse_args(args)
    task = Transfer(options.before, options.after, options.strength, options.padding_strength)
    return run(task, options.targets, bulk_options(options)).exit_code
