"""``padinv edit PHOTO… --direction NAME --strength S -o OUT``: codes moved along directions."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from padinv.bulk import Task, run
from padinv.checkpoints import fingerprint
from padinv.codes import InversionCode
from padinv.commands.options import add_photographs, bulk_options, number, photograph_parser
from padinv.editing import Direction, load_directions, parse_layers, remarks, truncate
from padinv.exceptions import CheckpointError, ConfigError
from padinv.networks import Generator


class Edit(Task):
    """Moves codes along directions, one after the other, and pulls them to the mean.

    Args:
        steps: directions, and how far along each: latents, then padding.
        layers: which latents to move, such as "0-7,9"; those of each direction if not given.
        truncation: psi of :func:`padinv.editing.truncate`, done first; 1 for none.
    """

    def __init__(
        self, steps: Sequence[tuple[Direction, float, float]], layers: str | None = None, truncation: float = 1.0
    ) -> None:
        named = [[identify(direction), *strengths] for direction, *strengths in steps]
        super().__init__("edit", {"steps": named, "layers": layers, "truncation": truncation})
        self.steps = steps
        self.layers = layers
        self.truncation = truncation
        self.generator: Generator | None = None

    def check(self, generator: Generator) -> list[str]:
        """Checks that directions and layers are for this generator; tells where the strengths lead.

        Raises:
            PadInvError: if they are not.
        """
        check_directions([direction for direction, *_ in self.steps], generator)
        parse_layers(self.layers, generator.num_layers)
        said = [remark for direction, strength, _ in self.steps for remark in remarks(direction, strength, generator)]
        if not -1 <= self.truncation <= 2:
            said.append(f"truncation {self.truncation:g} is far from 0, the mean, to 1: what comes out may be no face.")
        return said

    def prepare(self, generator: Generator, references: Sequence[InversionCode]) -> None:
        """Remembers the generator, whose mean is needed."""
        self.generator = generator

    def apply(self, code: InversionCode) -> InversionCode:
        """Moves the latents, and the padding of directions that know how."""
        if self.truncation != 1 and self.generator is not None:
            code = truncate(code, self.generator, self.truncation)
        for direction, strength, padding_strength in self.steps:
            code = direction.apply(code, strength, self.layers, padding_strength)
        return code


def identify(direction: Direction) -> list[Any]:
    """Plain values that are equal for directions that do the same."""
    tensors = [direction.vector, *(direction.padding.tensors() if direction.padding is not None else ())]
    content = b"".join(tensor.cpu().contiguous().numpy().tobytes() for tensor in tensors)
    return [direction.name, sha256(content).hexdigest(), direction.layers]


def check_directions(directions: Sequence[Direction], generator: Generator) -> None:
    """Raises PadInvError if one of them is for another generator, or for latents of another shape."""
    own = fingerprint(generator)
    mean = InversionCode(generator.broadcast(generator.w_avg[None]))
    for direction in directions:
        direction.apply(mean, 0.0)  # says whether its shape is that of these latents
        if direction.generator not in (None, own):
            raise CheckpointError(
                f"The direction {direction.name!r} is for the generator {direction.generator}, not for {own}: find "
                "directions of this generator with padinv directions."
            )


def main(args: Sequence[str]) -> int:
    """Runs the command.

    Args:
        args: the words behind ``padinv edit``.

    Returns:
        0, or 1 if a photograph failed.

    Raises:
        PadInvError: if nothing could be done at all.
    """
    parser = photograph_parser("edit", "Change one property of faces, along a direction of the latent space.")
    add_photographs(parser)
    edits = parser.add_argument_group("edit")
    edits.add_argument(
        "--direction", action="append", default=[], metavar="NAME", help="what to change; more than once for several"
    )
    edits.add_argument(
        "--strength",
        action="append",
        default=[],
        type=number(),
        metavar="S",
        help="how much, one for each direction, in standard deviations; negative for the contrary (default: 1)",
    )
    edits.add_argument(
        "--padding-strength",
        action="append",
        default=[],
        type=number(),
        metavar="S",
        help="the same for the padding, where the direction moves it, too (default: --strength)",
    )
    edits.add_argument(
        "--directions",
        metavar="FILE",
        help="where directions are: .safetensors, .pt, .npy, .npz, a bundled model (default: --model)",
    )
    edits.add_argument(
        "--keep", action="append", default=[], metavar="NAME", help="a direction along which nothing may change"
    )
    edits.add_argument("--layers", metavar="0-7,9", help="which latents to move (default: those of the direction)")
    edits.add_argument(
        "--truncation",
        type=number(),
        default=1.0,
        metavar="PSI",
        help="pull to the mean first: 0 is the mean (default: 1)",
    )
    options = parser.parse_args(args)
    if not options.direction and (options.strength or options.padding_strength):
        raise ConfigError("--strength is how far to go along a direction: give --direction.")
    strengths = options.strength or [1.0] * len(options.direction)
    padding_strengths = options.padding_strength or strengths
    for option, numbers in (("--strength", strengths), ("--padding-strength", padding_strengths)):
        if len(numbers) != len(options.direction):
            raise ConfigError(
                f"{option} must be given once for each --direction, not {len(numbers)} times for "
                f"{len(options.direction)}."
            )
    if not options.direction and options.truncation == 1:
        raise ConfigError("There is nothing to edit: give --direction, or --truncation.")
    known = load_directions(options.directions or options.model) if options.direction else {}
    kept = [known[name] for name in options.keep]
    chosen = [known[name].conditioned_on(*kept) for name in options.direction]
    steps = list(zip(chosen, strengths, padding_strengths, strict=True))
    task = Edit(steps, options.layers, options.truncation)
    return run(task, options.photographs, bulk_options(options)).exit_code
