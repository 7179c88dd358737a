"""``padinv drag PHOTO… --point X,Y:X,Y``: pulls points of a picture to other places."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padinv.bulk.task import Task
from padinv.exceptions import ConfigError, DataError
from padinv.options import file, number, option, whole_number

if TYPE_CHECKING:
    from torch import Tensor

    from padinv.codes import InversionCode
    from padinv.networks import Generator

NUMBER = r"\s*(\d+(?:\.\d+)?)\s*"
PAIR = re.compile(f"{NUMBER},{NUMBER}:{NUMBER},{NUMBER}")


def point_pair(text: str) -> tuple[float, float, float, float]:
    """The ``read`` of an option that is a handle and its target.

    >>> point_pair("32,46:32,40.5")
    (32.0, 46.0, 32.0, 40.5)
    """
    if (found := PAIR.fullmatch(text)) is None:
        raise ArgumentTypeError(f"must be a handle and its target in pixels, such as 32,46:32,40, not {text!r}")
    x, y, to_x, to_y = map(float, found.groups())
    return x, y, to_x, to_y


@dataclass
class Drag(Task):
    """Pull points of faces to other places; what is around them follows.

    Args:
        point: a handle and its target, in pixels of the generator's image from the upper left; give it again for
            several.
        mask: a picture that is white where the image may change (default: everywhere).
        steps: the largest number of steps.
        layers: which latents move (default: 0-5).
        padding: move the padding, too (default: yes).
        features: resolution of the features that are compared (default: half the image's, a quarter from 512 px on).
        rate: how far a number moves in a step, relative to the size of its tensor.
        tolerance: how near each handle must come to its target, in pixels.
    """

    point: list[tuple[float, float, float, float]] = option([], point_pair, metavar="X,Y:X,Y", group="drag")
    mask: Path | None = option(None, file, metavar="FILE", group="drag")
    steps: int = option(100, whole_number(1, 10_000), metavar="N", group="drag")
    layers: str | None = option(None, metavar="0-5", group="drag")
    padding: bool = option(True, group="drag")
    features: int | None = option(None, whole_number(4), metavar="PX", group="drag")
    rate: float = option(0.01, number(1e-6, 1), metavar="R", group="drag")
    tolerance: float = option(1.0, number(0.1), metavar="PX", group="drag")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.point:
            raise ConfigError("There is nothing to drag: give --point X,Y:X,Y, a handle and its target in pixels.")
        self.about: list[dict[str, float]] = []

    @property
    def settings(self) -> dict[str, Any]:
        """Names the mask by its content, since a file may change."""
        return super().settings | {"mask": None if self.mask is None else sha256(self._mask_bytes()).hexdigest()}

    def _mask_bytes(self) -> bytes:
        from padinv.images import read_bytes

        assert self.mask is not None  # the callers have checked it
        try:
            return read_bytes(str(self.mask))
        except OSError as error:
            raise DataError(f"--mask {self.mask} cannot be read ({error.strerror}).") from error
        except DataError as error:
            raise DataError(f"--mask {self.mask} cannot be read: {error}.") from error

    def check(self, generator: Generator) -> list[str]:
        """Checks that points, layers and features are the generator's, and that the mask can be read."""
        from padinv.codes import InversionCode
        from padinv.editing.dragging import drag_steps

        self.prepare(generator, [])
        mean = InversionCode(generator.broadcast(generator.w_avg[None]))
        drag_steps(mean, generator, **self._options())  # checks at once, and takes no step
        return []

    def prepare(self, generator: Generator, references: Sequence[InversionCode]) -> None:
        """Reads the mask."""
        from padinv.images import decode, square, to_tensor

        super().prepare(generator, references)
        self.pixels: Tensor | None = None
        if self.mask is not None:
            try:
                image = decode(self._mask_bytes())
            except DataError as error:
                raise DataError(f"--mask {self.mask} cannot be read: {error}") from error
            self.pixels = to_tensor(square(image, generator.resolution)).mean(dim=0)

    def _options(self) -> dict[str, Any]:
        """The options of :func:`padinv.editing.drag_steps`."""
        same = ("steps", "layers", "padding", "rate", "tolerance")
        return {name: getattr(self, name) for name in same} | {
            "handles": [(x, y) for x, y, _, _ in self.point],
            "targets": [(x, y) for _, _, x, y in self.point],
            "mask": self.pixels,
            "resolution": self.features,
        }

    def apply(self, code: InversionCode) -> InversionCode:
        """Drags each image by itself."""
        from padinv.codes import InversionCode
        from padinv.editing.dragging import drag_steps

        self.about, dragged = [], []
        for one in code:
            *_, last = drag_steps(one, self.generator, **self._options())
            self.about.append({"steps": last.number, "distance": round(max(last.distances), 2)})
            dragged.append(last.code)
        return InversionCode.cat(dragged)

    def facts(self, place: int) -> dict[str, float]:
        """The number of steps, and how far the farthest handle still is from its target, in pixels."""
        return self.about[place]

    def draw(self, generator: Generator, code: InversionCode, row: Sequence[Tensor]) -> Tensor:
        """Draws the row, with arrows from handles to targets on the reconstruction."""
        import torch

        from padinv.pictures import contact_sheet, mark_points

        options = self._options()
        marked = mark_points(row[-2], options["handles"], options["targets"])
        tiles = [contact_sheet([image[None]], gap=0) * 2 - 1 for image in row]
        tiles[-2] = marked
        return contact_sheet([torch.stack(tiles)], tile=1)
