"""``padinv blend CONTOUR DETAILS… -o OUT``: the layout of one photograph, the appearance of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from padinv.bulk.task import Task, reference
from padinv.options import option, resolutions

if TYPE_CHECKING:
    from torch import Tensor

    from padinv.codes import InversionCode
    from padinv.networks import Generator


@dataclass
class Blend(Task):
    """Give photographs the layout of another: its padding, their latents.

    Args:
        rings: resolutions whose ring is the contour's (default: all).
        const: whether the constant is the contour's (default: yes).
        layers: which latents are the details' (default: all).
    """

    metavar: ClassVar = "DETAILS"
    contour: str = reference()
    rings: list[int] | None = option(None, resolutions, metavar="4,8|none", group="blend")
    const: bool = option(True, group="blend")
    layers: str | None = option(None, metavar="4-", group="blend")

    def check(self, generator: Generator) -> list[str]:
        """Checks that there are such layers.

        Raises:
            ConfigError: if there are not.
        """
        from padinv.editing import parse_layers

        parse_layers(self.layers, generator.num_layers)
        return []

    def prepare(self, generator: Generator, references: Sequence[InversionCode]) -> None:
        """Remembers the contour, and checks that it has such rings.

        Raises:
            ConfigError: if there are not.
        """
        import torch

        (self.code,) = references
        self.apply(self.code)
        with torch.inference_mode():
            self.picture = generator.synthesis(*self.code.parts)[0].float()

    def apply(self, code: InversionCode) -> InversionCode:
        """Blends the contour with each."""
        from padinv.codes import InversionCode
        from padinv.editing import blend, mix

        w_plus = code.w_plus if self.layers is None else mix(self.code, code, self.layers).w_plus
        return blend(self.code, InversionCode(w_plus, code.padding), rings=self.rings, const=self.const)

    def draw(self, generator: Generator, code: InversionCode, row: Sequence[Tensor]) -> Tensor:
        """The contour, then the row."""
        import torch

        from padinv.pictures import contact_sheet

        return contact_sheet([torch.stack([self.picture, *row])])
