"""Commands on the codes of photographs: invert, edit, blend, transfer and show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

from padinv.bulk.task import Task, reference
from padinv.exceptions import CheckpointError, ConfigError
from padinv.options import number, option, resolutions, whole_number

if TYPE_CHECKING:
    from torch import Tensor

    from padinv.bulk.task import BulkOptions
    from padinv.codes import InversionCode
    from padinv.editing import Direction
    from padinv.networks import Generator

FARTHEST = 4.0
"""Strengths beyond this many times the difference of the pair get a warning."""


class Invert(Task):
    """Find the codes from which the generator makes photographs again."""


@dataclass
class Edit(Task):
    """Change one property of faces, along a direction of the latent space.

    Args:
        direction: what to change; give it again for several.
        strength: how far to go along each direction, in standard deviations; less than 0 goes back (default: 1).
        padding_strength: how far the padding goes, if the direction moves it (default: --strength).
        feature_strength: how far the features go (default: --strength).
        directions: where the directions are: .safetensors, .pt, .npy, .npz, a bundled model (default: --model).
        keep: a direction along which nothing may change.
        layers: which latents to move (default: those of the direction).
        truncation: first pull the code towards the mean; 0 is the mean itself.
    """

    direction: list[str] = option([], metavar="NAME", group="edit")
    strength: list[float] = option([], number(), metavar="S", group="edit")
    padding_strength: list[float] = option([], number(), metavar="S", group="edit")
    feature_strength: list[float] = option([], number(), metavar="S", group="edit")
    directions: str | None = option(None, metavar="FILE", group="edit")
    keep: list[str] = option([], metavar="NAME", group="edit")
    layers: str | None = option(None, metavar="0-7,9", group="edit")
    truncation: float = option(1.0, number(), metavar="PSI", group="edit")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.direction and (self.strength or self.padding_strength or self.feature_strength):
            raise ConfigError("--strength is how far to go along a direction: give --direction.")
        self.strength = self.strength or [1.0] * len(self.direction)
        self.padding_strength = self.padding_strength or self.strength
        self.feature_strength = self.feature_strength or self.strength
        for name in ("strength", "padding_strength", "feature_strength"):
            strengths = getattr(self, name)
            if len(strengths) != len(self.direction):
                raise ConfigError(
                    f"--{name.replace('_', '-')} must be given once for each --direction, not {len(strengths)} times "
                    f"for {len(self.direction)}."
                )
        if not self.direction and self.truncation == 1:
            raise ConfigError("There is nothing to edit: give --direction, or --truncation.")

    @property
    def settings(self) -> dict[str, Any]:
        """Names the directions by their content, since a file may change."""
        steps = [[identify(direction), *strengths] for direction, *strengths in self.steps]
        return {"steps": steps, "layers": self.layers, "truncation": self.truncation}

    def begin(self, photographs: Sequence[str], options: BulkOptions) -> None:
        """Loads the directions."""
        from padinv.editing import load_directions

        known = load_directions(self.directions or options.model) if self.direction else {}
        kept = [known[name] for name in self.keep]
        chosen = [known[name].conditioned_on(*kept) for name in self.direction]
        self.steps = list(zip(chosen, self.strength, self.padding_strength, self.feature_strength, strict=True))

    def check(self, generator: Generator) -> list[str]:
        """Checks that the directions are for this generator, too, and tells where the strengths lead."""
        from padinv.editing import remarks

        check_directions([direction for direction, *_ in self.steps], generator)
        said = super().check(generator)
        said += [remark for direction, strength, *_ in self.steps for remark in remarks(direction, strength, generator)]
        if not -1 <= self.truncation <= 2:
            said.append(f"truncation {self.truncation:g} is far from 0, the mean, to 1: what comes out may be no face.")
        return said

    def apply(self, code: InversionCode) -> InversionCode:
        """Moves the latents, and padding and features if a direction moves them."""
        from padinv.editing import truncate

        if self.truncation != 1:
            code = truncate(code, self.generator, self.truncation)
        for direction, strength, padding_strength, feature_strength in self.steps:
            code = direction.apply(code, strength, self.layers, padding_strength, feature_strength)
        return code


def identify(direction: Direction) -> list[Any]:
    """Plain values that are equal for two directions that do the same."""
    from padinv.codes import InversionCode

    tensors = InversionCode(direction.vector[None], direction.padding, direction.features).tensors()
    content = b"".join(tensor.cpu().contiguous().numpy().tobytes() for tensor in tensors)
    return [direction.name, sha256(content).hexdigest(), direction.layers]


def check_directions(directions: Sequence[Direction], generator: Generator) -> None:
    """Raises PadInvError if a direction is for another generator, or for latents of another shape."""
    from padinv.checkpoints import fingerprint
    from padinv.codes import InversionCode

    own = fingerprint(generator)
    mean = InversionCode(generator.broadcast(generator.w_avg[None]))
    for direction in directions:
        direction.apply(mean, 0.0)  # raises if its shape does not fit these latents
        if direction.fingerprint not in (None, own):
            raise CheckpointError(
                f"The direction {direction.name!r} is for the generator {direction.fingerprint}, not for {own}: find "
                "directions of this generator with padinv directions."
            )


@dataclass
class Blend(Task):
    """Give photographs the layout of another one: its padding with their latents.

    Args:
        rings: resolutions whose ring comes from the contour (default: all).
        const: take the constant from the contour (default: yes).
        features: resolutions whose features come from the contour (default: none).
        face: take the other features from the details on the face, and from the contour around it.
        layers: which latents come from the details (default: all).
    """

    metavar: ClassVar = "DETAILS"
    contour: str = reference()
    rings: list[int] | None = option(None, resolutions, metavar="4,8|none", group="blend")
    const: bool = option(True, group="blend")
    features: list[int] | None = option(None, resolutions, metavar="16|none", group="blend")
    face: bool = option(False, group="blend")
    layers: str | None = option(None, metavar="4-", group="blend")

    def prepare(self, generator: Generator, references: Sequence[InversionCode]) -> None:
        """Checks that the contour has such rings and features."""
        super().prepare(generator, references)
        (self.code,) = references
        self.apply(self.code)

    def apply(self, code: InversionCode) -> InversionCode:
        """Blends the contour with each photograph."""
        from padinv.editing import blend, face_mask, mix

        w_plus = code.w_plus if self.layers is None else mix(self.code, code, self.layers).w_plus
        details = replace(code, w_plus=w_plus)
        mask = face_mask(64).to(code.w_plus) if self.face else None
        return blend(self.code, details, rings=self.rings, const=self.const, features=self.features or (), mask=mask)


@dataclass
class Transfer(Task):
    """Do to photographs what was done between two others, or between the means of several pairs.

    Args:
        strength: how much of the edit to do; 1 is all of it.
        padding_strength: how much of what it did to the padding (default: --strength).
        feature_strength: how much of what it did to the features (default: --strength).
    """

    metavar: ClassVar = "TARGET"
    several: ClassVar = True
    before: str = reference(several)
    after: str = reference(several)
    strength: float = option(1.0, number(), metavar="S", group="transfer")
    padding_strength: float | None = option(None, number(), metavar="S", group="transfer")
    feature_strength: float | None = option(None, number(), metavar="S", group="transfer")

    def check(self, generator: Generator) -> list[str]:
        """Warns of strengths that lead far beyond the pair."""
        given = (self.strength, self.padding_strength, self.feature_strength)
        strengths = [strength for strength in given if strength is not None]
        far = [strength for strength in strengths if abs(strength) > FARTHEST]
        return [f"{far[0]:g} times the difference of the pair is far: what comes out may be no face."] if far else []

    def apply(self, code: InversionCode) -> InversionCode:
        """Does to each photograph what was done between the pair."""
        from padinv.editing import transfer

        before, after = self.codes
        return transfer(before, after, code, self.strength, self.padding_strength, self.feature_strength)


@dataclass
class Show(Task):
    """Draw codes: the padding rings around the generator's feature maps, and the features added to these.

    Args:
        tile: height of each picture, in pixels.
    """

    tile: int = option(256, whole_number(64, 4096), metavar="PX")  # 64: a map of 32 px has 34 positions with its ring

    def draw(self, generator: Generator, code: InversionCode, row: Sequence[Tensor]) -> Tensor:
        """Draws the row, then the constant, the rings and the features of the code."""
        from padinv.feature_maps import draw_code

        return draw_code(generator, code, [image[None] for image in row], self.tile)
