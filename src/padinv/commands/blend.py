"""``padinv blend CONTOUR DETAILS… -o OUT``: the layout of one photograph, the appearance of others."""

from __future__ import annotations

from argparse import BooleanOptionalAction
from collections.abc import Sequence

import torch
from torch import Tensor

from padinv.bulk import Task, run
from padinv.codes import InversionCode
from padinv.commands.options import add_photograph, add_photographs, bulk_options, photograph_parser
from padinv.editing import blend, mix, parse_layers
from padinv.exceptions import ConfigError
from padinv.networks import Generator
from padinv.pictures import contact_sheet


class Blend(Task):
    """Takes the padding of one photograph, and the latents of each of the others.

    Args:
        contour: the photograph, or saved code, that gives the padding.
        rings: resolutions whose ring is the contour's; all if not given.
        const: whether the constant is, too.
        layers: which latents are the details', such as "4-"; the others are the contour's. All if not given.
    """

    def __init__(
        self, contour: str, rings: Sequence[int] | None = None, const: bool = True, layers: str | None = None
    ) -> None:
        settings = {"rings": None if rings is None else sorted(rings), "const": const, "layers": layers}
        super().__init__("blend", settings, [contour])
        self.rings = rings
        self.const = const
        self.layers = layers

    def check(self, generator: Generator) -> list[str]:
        """Checks that there are such layers.

        Raises:
            ConfigError: if there are not.
        """
        parse_layers(self.layers, generator.num_layers)
        return []

    def prepare(self, generator: Generator, references: Sequence[InversionCode]) -> None:
        """Remembers the contour, and checks that it has such rings.

        Raises:
            ConfigError: if there are not.
        """
        (self.contour,) = references
        self.apply(self.contour)
        with torch.inference_mode():
            self.picture = generator.synthesis(*self.contour.parts)[0].float()

    def apply(self, code: InversionCode) -> InversionCode:
        """Blends the contour with each."""
        w_plus = code.w_plus if self.layers is None else mix(self.contour, code, self.layers).w_plus
        return blend(self.contour, InversionCode(w_plus, code.padding), rings=self.rings, const=self.const)

    def draw(self, generator: Generator, code: InversionCode, row: Sequence[Tensor]) -> Tensor:
        """The contour, then the row."""
        return contact_sheet([torch.stack([self.picture, *row])])


def parse_rings(text: str | None) -> list[int] | None:
    """Reads resolutions: "4,8", "none", or None for all.

    Raises:
        ConfigError: if it is something else.

    >>> parse_rings("8,4"), parse_rings("none")
    ([8, 4], [])
    """
    if text is None:
        return None
    if text == "none":
        return []
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--rings must be resolutions such as 4,8,16, or none, not {text!r}.") from error


def main(args: Sequence[str]) -> int:
    """Runs the command.

    Args:
        args: the words behind ``padinv blend``.

    Returns:
        0, or 1 if a photograph failed.

    Raises:
        PadInvError: if nothing could be done at all.
    """
    parser = photograph_parser("blend", "Give photographs the layout of another: its padding, their latents.")
    add_photograph(parser, "contour")
    add_photographs(parser, "details", "DETAILS")
    blending = parser.add_argument_group("blend")
    blending.add_argument("--rings", metavar="4,8|none", help="resolutions whose ring is the contour's (default: all)")
    blending.add_argument(
        "--const",
        action=BooleanOptionalAction,
        default=True,
        help="whether the constant is the contour's (default: yes)",
    )
    blending.add_argument("--layers", metavar="4-", help="which latents are the details' (default: all)")
    options = parser.parse_args(args)
    task = Blend(options.contour, parse_rings(options.rings), options.const, options.layers)
    return run(task, options.details, bulk_options(options)).exit_code
