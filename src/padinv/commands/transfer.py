"""``padinv transfer BEFORE AFTER TARGET… -o OUT``: the edit between two photographs, done to others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from padinv.bulk.task import Task, reference
from padinv.options import number, option

if TYPE_CHECKING:
    from torch import Tensor

    from padinv.codes import InversionCode
    from padinv.networks import Generator

FARTHEST = 4.0
"""Beyond so many times the difference between two pictures a user is told so."""


@dataclass
class Transfer(Task):
    """Do to photographs what was done between two others.

    Args:
        strength: of the edit.
        padding_strength: of its padding (default: --strength).
    """

    metavar: ClassVar = "TARGET"
    before: str = reference()
    after: str = reference()
    strength: float = option(1.0, number(), metavar="S", group="transfer")
    padding_strength: float | None = option(None, number(), metavar="S", group="transfer")

    def check(self, generator: Generator) -> list[str]:
        """Tells of strengths that lead far beyond the pair."""
        strengths = (self.strength, self.strength if self.padding_strength is None else self.padding_strength)
        far = [strength for strength in strengths if abs(strength) > FARTHEST]
        return [f"{far[0]:g} times the difference of the pair is far: what comes out may be no face."] if far else []

    def prepare(self, generator: Generator, references: Sequence[InversionCode]) -> None:
        """Remembers the pair."""
        import torch

        self.pair = references
        with torch.inference_mode():
            self.pictures = [generator.synthesis(*code.parts)[0].float() for code in references]

    def apply(self, code: InversionCode) -> InversionCode:
        """Edits each as the pair was."""
        from padinv.editing import transfer

        before, after = self.pair
        return transfer(before, after, code, self.strength, self.padding_strength)

    def draw(self, generator: Generator, code: InversionCode, row: Sequence[Tensor]) -> Tensor:
        """The pair, then the row."""
        import torch

        from padinv.pictures import contact_sheet

        return contact_sheet([torch.stack([*self.pictures, *row])])
