"""What all visitors of a studio share, a model; and what each of them has, a photograph and its inversion.

The studio keeps nothing of a visitor: the caller keeps the :class:`Sitting` that it gets, and passes it to the next
call.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Event, Lock

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from padinv.codes import InversionCode
from padinv.editing import Direction, load_directions, seen_range, sefa
from padinv.exceptions import CheckpointError, DataError, NoFaceError, PadInvError
from padinv.images import decode, to_image
from padinv.inversion import Inversion, Inverter, refine
from padinv.metrics import reconstruction_metrics
from padinv.pictures import heat_map
from padinv.sources.finding import find_photographs
from padinv.typing import PathLike

EXAMPLES = ("color-A000378", "color-G000594", "color-J000305", "color-S001192", "gray-B001243", "gray-I000024")
"""Bundled portraits of people whom the bundled encoder was not trained on."""

ROUND = 20
"""Steps of refinement from one look to the next. Each round is a search of its own, so that one can stop behind it."""

LONGEST = 2048
"""Longer side of the photograph that is kept, in pixels: a visitor costs 12 MB, not 120."""

SHOWN = 512
"""Side of pictures on the page, in pixels; small images are enlarged to it."""


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for.

    Args:
        megabytes: the size of an uploaded file.
        megapixels: the size of the picture in it.
        stored: megabytes of all visitors' files in the temporary folder; the oldest ones are deleted.
        steps: how many steps of refining or dragging are taken at once.
        waiting: requests that wait, of all visitors; one more is told to come again.
        visitors: whose pictures are kept in memory; one more takes the place of the one longest away.
    """

    megabytes: int = 20
    megapixels: int = 40
    stored: int = 500
    steps: int = 200
    waiting: int = 64
    visitors: int = 32


@dataclass(frozen=True, eq=False)
class Sitting:
    """What one visitor has: a photograph, and the code that was found for it.

    Args:
        photograph: the photograph, upright, in sRGB.
        inversion: the inversion of this one image.
        rounds: how many rounds of refinement it has had.
        name: what the reproducing Python calls the file.
    """

    photograph: Image.Image
    inversion: Inversion
    rounds: int = 0
    name: str = "photograph"

    @property
    def code(self) -> InversionCode:
        """The code of one image."""
        return self.inversion.code

    @property
    def target(self) -> Tensor:
        """The square of the photograph, (1, 3, R, R) in [-1, 1]."""
        if self.inversion.targets is None:
            raise DataError("This inversion was read from a file, and has no photograph.")
        return self.inversion.targets

    def script(self) -> list[str]:
        """The lines of Python that find this code again, in a variable of the photograph's name."""
        option = ", align=True" if self.inversion.aligned else ""
        lines = [
            f'inversion = inverter.invert("{self.name}.png"{option})',
            f"{self.name} = inversion.code",
        ]
        if self.rounds:
            lines += [
                f"for _ in range({self.rounds}):",
                f"    {self.name} = refine({self.name}, inverter.generator, inversion.targets, steps={ROUND})",
            ]
        return lines


class Studio:
    """A model, and what can be done with it.

    Args:
        inverter: has the networks.
        model: what the user calls it.
        directions: the directions of editing; the first ones of SeFa if not given.
        limits: what a visitor may ask for.

    Attributes:
        directions: name → direction.
        ranges: name → the range of strengths in which codes were seen (:func:`padinv.editing.seen_range`).
        ending: set it to end whatever is being computed, after the step that it is at.
    """

    def __init__(
        self,
        inverter: Inverter,
        model: str = "congress64",
        directions: Sequence[Direction] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.inverter, self.model, self.limits = inverter, model, limits or Limits()
        self.ending = Event()
        self._metrics, self._measuring = reconstruction_metrics(inverter.resolution), Lock()
        found = sefa(inverter.generator, count=3) if directions is None else directions
        self.directions = {direction.name: direction for direction in found}
        self.ranges = {direction.name: seen_range(direction, inverter.generator) for direction in found}

    @classmethod
    def open(cls, model: str, device: str | None = None, limits: Limits | None = None) -> Studio:
        """Loads a model, and the directions in its folder if there are any.

        Raises:
            PadInvError: if it cannot be loaded.
        """
        inverter = Inverter.from_pretrained(model, device=device)
        try:
            directions = list(load_directions(model, inverter.generator).values())
        except CheckpointError:  # a model without directions
            directions = None
        return cls(inverter, model, directions, limits)

    @property
    def rings(self) -> list[int]:
        """The resolutions at which the model's codes have a ring."""
        return [] if self._blank.padding is None else self._blank.padding.padded_resolutions

    @property
    def features(self) -> list[int]:
        """The resolutions at which the model's codes have features."""
        return self._blank.feature_resolutions

    @cached_property
    def _blank(self) -> InversionCode:
        return self.inverter.encode(torch.zeros(1, 3, self.inverter.resolution, self.inverter.resolution))

    @property
    def preamble(self) -> list[str]:
        """The first lines of every script."""
        return [f"inverter = Inverter.from_pretrained({json.dumps(self.model)})"]

    def examples(self, folder: Path) -> list[Path]:
        """Writes the bundled portraits into a folder."""
        source = find_photographs(["congress64-val"])
        paths = []
        for place in range(len(source)):
            if (name := Path(source.name(place)).stem) in EXAMPLES:
                paths.append(folder / f"{name}.png")
                decode(source.read(place)).save(paths[-1])
        return paths

    def read(self, path: PathLike | None) -> Image.Image:
        """Reads an uploaded picture.

        Returns:
            The picture, upright, in sRGB, and no larger than is of use.

        Raises:
            DataError: if there is none, it cannot be read, or it is too large.
        """
        if path is None:
            raise DataError("There is no photograph yet: drop one, paste one, or take an example.")
        file = Path(path)
        try:
            size = file.stat().st_size
            if size > self.limits.megabytes * 1e6:
                raise DataError(
                    f"{file.name} has {size / 1e6:.0f} MB, and {self.limits.megabytes} are the most: make it smaller."
                )
            data = file.read_bytes()
        except OSError as error:
            raise DataError(f"{file.name} cannot be read ({error.strerror}): send it again.") from error
        try:
            with Image.open(io.BytesIO(data)) as opened:
                pixels = opened.width * opened.height
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # of Pillow itself
            many = f"{file.name} has far more than {self.limits.megapixels} megapixels, which are the most: resize it."
            raise DataError(many) from error
        except Exception:  # of many kinds; decode tells which, in a sentence
            pixels = 0
        if pixels > self.limits.megapixels * 1e6:
            raise DataError(
                f"{file.name} has {pixels / 1e6:.0f} megapixels, and {self.limits.megapixels} are the most: resize it."
            )
        try:
            photograph = decode(data)
        except DataError as error:
            why = str(error).rstrip(".")
            mend = "" if ";" in why else "; give a JPEG, PNG or WebP"  # it may have one
            raise DataError(f"{file.name} cannot be read: {why}{mend}.") from error
        photograph.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        return photograph

    def invert(self, photograph: Image.Image, align: bool = False, name: str = "photograph") -> Sitting:
        """Finds the code of a photograph.

        Args:
            photograph: the photograph, upright, in sRGB.
            align: whether to turn and crop to the largest face.
            name: for scripts and messages.

        Raises:
            DataError: if there is no face to align, or the picture is too small.
            PadInvError: if there is no detector.
        """
        try:
            inversion = self.inverter.invert(photograph, align=align, names=[f"The {name}"])
        except NoFaceError as error:
            raise DataError(
                f"No face was found in the {name}: take one with a larger face seen from the front, or untick “Find "
                "the face”, and crop it to the face yourself."
            ) from error
        return Sitting(photograph, inversion, name=name)

    def refined(self, sitting: Sitting, steps: int) -> Iterator[Sitting]:
        """Refines a code in rounds of 20 steps, and shows each.

        Args:
            sitting: where to begin.
            steps: how many in all, rounded up to whole rounds, within the limit.

        Yields:
            The sitting after each round.
        """
        for _ in range(-(-min(steps, self.limits.steps) // ROUND)):
            code = self.refine(sitting.code, sitting.target, ROUND)
            inversion = replace(sitting.inversion, code=code, images=self.inverter.reconstruct(code))
            sitting = replace(sitting, inversion=inversion, rounds=sitting.rounds + 1)
            yield sitting

    def refine(self, code: InversionCode, target: Tensor, steps: int) -> InversionCode:
        """Optimizes a code for a photograph (1, 3, R, R)."""
        return refine(code, self.inverter.generator, target, steps=steps, on_step=lambda *_: self.go_on())

    def go_on(self) -> None:
        """Raises PadInvError if the studio ends."""
        if self.ending.is_set():
            raise PadInvError("The studio has ended.")

    def measure(self, image: Tensor, target: Tensor) -> dict[str, float]:
        """Compares an image with a photograph, both (1, 3, R, R), as validation does."""
        size = self.inverter.resolution
        pair = (torch.nn.functional.adaptive_avg_pool2d(one.detach().float().cpu(), size) for one in (image, target))
        with self._measuring:  # they have a state
            values = self._metrics(*pair)
            self._metrics.reset()
        return {name: float(value) for name, value in values.items()}


def picture(image: Tensor) -> Image.Image:
    """Makes a picture of an image (1, 3, H, W) in [-1, 1] for the page, enlarged if it is small."""
    small = to_image(image[0])
    if small.width >= SHOWN:
        return small
    return small.resize((SHOWN, SHOWN), Image.Resampling.LANCZOS)


def located(sitting: Sitting) -> Image.Image:
    """Draws into the photograph the square that was taken from it."""
    width, height = sitting.photograph.size
    scale = SHOWN / max(width, height)
    drawn = sitting.photograph.resize((round(scale * width) or 1, round(scale * height) or 1), Image.Resampling.LANCZOS)
    quad = sitting.inversion.crop[0].quad
    # Corners on the edge of the photograph are drawn inside of it.
    corners = [(min(max(scale * x, 2), drawn.width - 3), min(max(scale * y, 2), drawn.height - 3)) for x, y in quad]
    draw = ImageDraw.Draw(drawn)
    for colour, thickness in (("white", 6), ("#e8112d", 3)):
        draw.line([*corners, corners[0], corners[1]], colour, thickness, joint="curve")
    return drawn


def error_map(sitting: Sitting) -> tuple[Image.Image, float]:
    """Draws where the reconstruction differs from the photograph, bright where most; also tells the most, in [0, 2]."""
    difference = (sitting.inversion.images - sitting.target).clamp(-2, 2)
    return picture(heat_map(difference, SHOWN) * 2 - 1), float(difference.abs().mean(dim=1).max())
