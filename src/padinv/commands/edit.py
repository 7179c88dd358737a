"""``padinv edit PHOTO… --direction NAME --strength S -o OUT``: codes moved along directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from padinv.bulk.task import Task
from padinv.exceptions import CheckpointError, ConfigError
from padinv.options import number, option

if TYPE_CHECKING:
    from padinv.bulk.options import BulkOptions
    from padinv.codes import InversionCode
    from padinv.editing import Direction
    from padinv.networks import Generator


@dataclass
class Edit(Task):
    """Change one property of faces, along a direction of the latent space.

    Args:
        direction: what to change; more than once for several.
        strength: how much, one for each direction, in standard deviations; negative for the contrary (default: 1).
        padding_strength: the same for the padding, where the direction moves it, too (default: --strength).
        directions: where directions are: .safetensors, .pt, .npy, .npz, a bundled model (default: --model).
        keep: a direction along which nothing may change.
        layers: which latents to move (default: those of the direction).
        truncation: pull to the mean first: 0 is the mean.
    """

    direction: list[str] = option([], metavar="NAME", group="edit")
    strength: list[float] = option([], number(), metavar="S", group="edit")
    padding_strength: list[float] = option([], number(), metavar="S", group="edit")
    directions: str | None = option(None, metavar="FILE", group="edit")
    keep: list[str] = option([], metavar="NAME", group="edit")
    layers: str | None = option(None, metavar="0-7,9", group="edit")
    truncation: float = option(1.0, number(), metavar="PSI", group="edit")

    def __post_init__(self) -> None:
        if not self.direction and (self.strength or self.padding_strength):
            raise ConfigError("--strength is how far to go along a direction: give --direction.")
        self.strength = self.strength or [1.0] * len(self.direction)
        self.padding_strength = self.padding_strength or self.strength
        for name, strengths in (("--strength", self.strength), ("--padding-strength", self.padding_strength)):
            if len(strengths) != len(self.direction):
                raise ConfigError(
                    f"{name} must be given once for each --direction, not {len(strengths)} times for "
                    f"{len(self.direction)}."
                )
        if not self.direction and self.truncation == 1:
            raise ConfigError("There is nothing to edit: give --direction, or --truncation.")

    @property
    def settings(self) -> dict[str, Any]:
        """Directions by their content: a file may change."""
        steps = [[identify(direction), *strengths] for direction, *strengths in self.steps]
        return {"steps": steps, "layers": self.layers, "truncation": self.truncation}

    def begin(self, photographs: Sequence[str], options: BulkOptions) -> None:
        """Loads the directions."""
        from padinv.editing import load_directions

        known = load_directions(self.directions or options.model) if self.direction else {}
        kept = [known[name] for name in self.keep]
        chosen = [known[name].conditioned_on(*kept) for name in self.direction]
        self.steps = list(zip(chosen, self.strength, self.padding_strength, strict=True))

    def check(self, generator: Generator) -> list[str]:
        """Checks that directions and layers are for this generator; tells where the strengths lead.

        Raises:
            PadInvError: if they are not.
        """
        from padinv.editing import parse_layers, remarks

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
        from padinv.editing import truncate

        if self.truncation != 1:
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
    from padinv.checkpoints import fingerprint
    from padinv.codes import InversionCode

    own = fingerprint(generator)
    mean = InversionCode(generator.broadcast(generator.w_avg[None]))
    for direction in directions:
        direction.apply(mean, 0.0)  # says whether its shape is that of these latents
        if direction.generator not in (None, own):
            raise CheckpointError(
                f"The direction {direction.name!r} is for the generator {direction.generator}, not for {own}: find "
                "directions of this generator with padinv directions."
            )
