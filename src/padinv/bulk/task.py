"""What is done to the codes of photographs; a command is one of these, and the options of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from padinv.codes import InversionCode
from padinv.networks import Generator
from padinv.pictures import contact_sheet


class Task:
    """Leaves codes as they are: ``padinv invert``. The other tasks are subclasses.

    Args:
        name: of the command.
        settings: what the results depend on, as JSON; results made with other settings are not taken for done.
        references: photographs or saved codes that are inverted first, on each process, and given to :meth:`prepare`.
    """

    def __init__(
        self, name: str = "invert", settings: Mapping[str, Any] | None = None, references: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.settings = dict(settings or {})
        self.references = list(references)

    def check(self, generator: Generator) -> list[str]:
        """Called before anything is encoded.

        Returns:
            Sentences that the user should read first.

        Raises:
            PadInvError: if the task cannot be done with this generator.
        """
        return []

    def prepare(self, generator: Generator, references: Sequence[InversionCode]) -> None:
        """Called once, when the networks are on their device, with a code (of one image) for each reference.

        Raises:
            PadInvError: if the task cannot be done with this generator or these codes.
        """

    def apply(self, code: InversionCode) -> InversionCode:
        """Makes of the code of B photographs that of B results."""
        return code

    def draw(self, generator: Generator, code: InversionCode, row: Sequence[Tensor]) -> Tensor:
        """Draws a result beside what it was made of.

        Args:
            generator: the generator.
            code: of the result, of one image.
            row: images (3, R, R) in [-1, 1]: the photograph, unless a saved code was given; its reconstruction; the
                result, unless it is that reconstruction.

        Returns:
            (3, H, W) in [0, 1].
        """
        return contact_sheet([torch.stack(list(row))])
