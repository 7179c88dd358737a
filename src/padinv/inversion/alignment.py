"""Finds the square of a photograph that holds a face, takes it out, and maps it back.

Places are given in pixels from the photograph's upper left corner (0, 0) to its lower right corner (W, H), so that the
centre of the first pixel is (0.5, 0.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from padinv.exceptions import ConfigError, DataError
from padinv.inversion.landmarks import Points, as_landmarks

Point: TypeAlias = tuple[float, float]
Quad: TypeAlias = tuple[Point, Point, Point, Point]

OVERSAMPLING = 4
"""Samples for each pixel of a face along each axis; a bicubic filter then averages them."""


@dataclass(frozen=True)
class Recipe:
    """How the size and place of a face's square follow from eyes and mouth (Karras et al. 2019, appendix C).

    A generator only knows faces cropped as its training images were, so photographs need the same recipe. The defaults
    are the recipe of the bundled portraits, which crops slightly tighter than FFHQ's own, :data:`FFHQ`.

    Args:
        eyes: half the side, in distances between the eyes; the larger of this and the next one is taken.
        eyes_to_mouth: half the side, in distances from the eyes to the mouth.
        shift: the way from the middle of the eyes to the centre of the square, in distances from the eyes to the mouth.
        scale: a factor of the side.
    """

    eyes: float = 2.0
    eyes_to_mouth: float = 1.8
    shift: float = 0.1
    scale: float = 0.92


PORTRAIT = Recipe()
"""The recipe of the bundled portraits, and of the generator ``congress64``."""

FFHQ = Recipe(scale=1.0)
"""The recipe of the data set FFHQ, and of the generators that were trained on it."""


@dataclass(frozen=True)
class Crop:
    """The square that was taken from a photograph, in plain numbers.

    Args:
        quad: its corners (x, y) in pixels of the upright photograph, in FFHQ's and Pillow's order: what becomes the
            face's upper left, lower left, lower right and upper right. They may lie beyond the photograph.
        size: width and height of the photograph.

    Raises:
        DataError: if they are not four finite corners of a convex quadrilateral in this order.
    """

    quad: Quad
    size: tuple[int, int]

    def __post_init__(self) -> None:
        corners = [complex(*corner) for corner in self.quad]
        edges = [after - before for before, after in zip(corners, corners[1:] + corners[:1], strict=True)]
        # All turns from one edge to the next are to the left, seen with y downwards.
        turns = [(a * b.conjugate()).imag for a, b in zip(edges, edges[1:] + edges[:1], strict=True)]
        if len(corners) != 4 or not all(0 < turn < math.inf for turn in turns) or min(self.size) < 1:
            raise DataError(f"A crop needs the four corners of a square in a photograph, not {self.to_dict()}.")

    @property
    def side(self) -> float:
        """Length of the square's upper edge, in pixels of the photograph."""
        return math.dist(self.quad[0], self.quad[3])

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the part of the photograph that holds the square; empty if there is none."""
        xs, ys = zip(*self.quad, strict=True)
        width, height = self.size
        left, top = min(max(math.floor(min(xs)), 0), width), min(max(math.floor(min(ys)), 0), height)
        return left, top, max(min(math.ceil(max(xs)), width), left), max(min(math.ceil(max(ys)), height), top)

    def moved(self, x: float, y: float) -> Quad:
        """Moves the corners to the right by x and down by y."""
        a, b, c, d = ((corner[0] + x, corner[1] + y) for corner in self.quad)
        return a, b, c, d

    def to_dict(self) -> dict[str, Any]:
        """Makes lists and numbers of it, as for a JSON file."""
        return {"quad": [list(corner) for corner in self.quad], "size": list(self.size)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Crop:
        """Undoes :meth:`to_dict`.

        Raises:
            DataError: if something else is given.

        >>> Crop.from_dict(centre_square((300, 200)).to_dict()).quad[0]
        (50.0, 0.0)
        """
        try:
            upper_left, lower_left, lower_right, upper_right = ((float(x), float(y)) for x, y in values["quad"])
            width, height = (int(length) for length in values["size"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"This is not a crop, four corners and the photograph's size: {values!r}.") from error
        return cls((upper_left, lower_left, lower_right, upper_right), (width, height))

    def check(self, photograph: Tensor) -> None:
        """Checks that this is a crop of a photograph (C, H, W) of this size.

        Raises:
            DataError: if it is not.
        """
        width, height = self.size
        if photograph.ndim != 3 or not photograph.is_floating_point() or photograph.shape[1:] != (height, width):
            raise DataError(
                f"The crop is of a photograph of {width}×{height} px, a floating-point tensor (3, {height}, {width}), "
                f"not of {photograph.dtype} {tuple(photograph.shape)}."
            )


def centre_square(size: tuple[int, int]) -> Crop:
    """Finds the largest square in the middle of a photograph, the one that :func:`padinv.images.square` takes.

    Args:
        size: width and height of the photograph.

    >>> centre_square((300, 200)).quad
    ((50.0, 0.0), (50.0, 200.0), (250.0, 200.0), (250.0, 0.0))
    """
    side = min(size)
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    return Crop(((left, top), (left, top + side), (left + side, top + side), (left + side, top)), size)


def face_square(landmarks: Points, size: tuple[int, int], recipe: Recipe = PORTRAIT) -> Crop:
    """Finds the oriented square around a face, by FFHQ's recipe (Karras et al. 2019, appendix C).

    With e the vector from the left to the right eye, m that from the middle of the eyes to the middle of the mouth, and
    m⊥ the latter turned by a right angle to point like e: the upper edge points like e + m⊥, half the side is
    scale · max(2.0 |e|, 1.8 |m|), and the centre is the middle of the eyes + 0.1 m.

    Args:
        landmarks: (5, 2), in the order of :data:`padinv.inversion.landmarks.Points`; eyes or corners of the mouth may
            be exchanged, since nose and mouth tell which way is down.
        size: width and height of the photograph.
        recipe: the constants.

    Raises:
        DataError: if these are not five points of a face in the photograph.

    >>> face_square([[31.5, 39.5], [71.5, 39.5], [51.5, 59.5], [36.5, 79.5], [66.5, 79.5]], (104, 90), FFHQ).quad
    ((-28.0, -36.0), (-28.0, 124.0), (132.0, 124.0), (132.0, -36.0))
    """
    points = as_landmarks(landmarks)
    if len(points) != 1:
        raise DataError(f"A square is made from the landmarks of one face, (5, 2), not of {len(points)}.")
    if not any(0 <= x <= size[0] and 0 <= y <= size[1] for x, y in points[0].tolist()):
        raise DataError(f"The landmarks lie outside of the photograph of {size[0]}×{size[1]} px: {points[0].tolist()}.")
    if points.min() >= 0 and points.max() <= 1:
        raise DataError(
            f"These landmarks are fractions of the photograph's sides, {points[0].tolist()}: give pixels, x times its "
            f"width {size[0]} and y times its height {size[1]}."
        )
    # Landmarks count from the centre of the first pixel. Points are complex numbers: times 1j is a quarter turn.
    left_eye, right_eye, nose, left_mouth, right_mouth = (complex(x, y) + (0.5 + 0.5j) for x, y in points[0].tolist())
    eyes, mouth = (left_eye + right_eye) / 2, (left_mouth + right_mouth) / 2
    across, down = right_eye - left_eye, mouth - eyes
    # Some tools name the person's left eye first, but nose and mouth are always below the eyes.
    below = down + nose - eyes
    swapped = _is_left_of(across, below)
    across = -across if swapped else across
    direction = across - 1j * down
    mirrored = swapped and _is_left_of(right_mouth - left_mouth, below) and 2 * abs(across) > abs(down)
    if mirrored and abs(direction.imag) > 2 * abs(direction.real):
        raise DataError(
            f"These landmarks lie on the side, and left and right are exchanged, {points[0].tolist()}: give x before y."
        )
    # In a face the eyes are across the way to the mouth, and the two lengths add up; here they nearly cancel.
    if not abs(direction) > 0.5 * max(abs(across), abs(down)):
        raise DataError(
            f"These are not the landmarks of a face, {points[0].tolist()}: give the eye on the left of the picture, "
            "the one on the right, the nose, then the corners of the mouth."
        )
    half = recipe.scale * max(recipe.eyes * abs(across), recipe.eyes_to_mouth * abs(down))
    x = direction * (half / abs(direction))
    y = 1j * x
    centre = eyes + recipe.shift * down
    upper_left, lower_left, lower_right, upper_right = (
        (corner.real, corner.imag) for corner in (centre - x - y, centre - x + y, centre + x + y, centre + x - y)
    )
    return Crop((upper_left, lower_left, lower_right, upper_right), size)


def _is_left_of(across: complex, below: complex) -> bool:
    """Tells whether what leads from left to right in an upright face leads from right to left in this one."""
    return (across.conjugate() * below).imag < 0


def warp(photograph: Tensor, crop: Crop, resolution: int) -> Tensor:
    """Takes the square out of a photograph, upright; the gradient reaches the photograph.

    It works as FFHQ was made: it samples bilinearly at four times the resolution, then reduces with an antialiasing
    filter (here bicubic, there Lanczos). A photograph of still more pixels is reduced first, in the same way. Beyond
    the photograph its edge is repeated.

    Args:
        photograph: (C, H, W) in [-1, 1].
        crop: the place of the square.
        resolution: R, side of the result in pixels.

    Returns:
        (C, R, R) in [-1, 1].

    Raises:
        DataError: if the crop is of a photograph of another size.
        ConfigError: if the resolution is not positive.

    >>> warp(torch.ones(3, 20, 30), centre_square((30, 20)), 8).shape
    torch.Size([3, 8, 8])
    """
    crop.check(photograph)
    if resolution < 1:
        raise ConfigError(f"resolution must be positive, not {resolution}.")
    fine = OVERSAMPLING * resolution
    samples = project(photograph, crop.quad, centre_square((fine, fine)).quad, (fine, fine), "bilinear")
    return clamped(F.interpolate(samples[None], size=resolution, mode="bicubic", antialias=True)[0])


def clamped(image: Tensor) -> Tensor:
    """Clamps to [-1, 1], as a filter may overshoot; the gradient passes as if nothing were clamped.

    A plain clamp would stop it in white and black areas.
    """
    return image + (image.clamp(-1, 1) - image).detach()


def project(image: Tensor, source: Quad, target: Quad, size: tuple[int, int], mode: str) -> Tensor:
    """Maps one quadrilateral to another, with the edge of the image repeated beyond it.

    Where the result is smaller, the image is first reduced with an antialiasing filter.

    Args:
        image: (C, H, W).
        source: four corners in the image.
        target: the places of these corners in the result.
        size: height and width of the result.
        mode: the interpolation, ``bilinear`` or ``bicubic``.

    Returns:
        (C, height, width).
    """
    from kornia.geometry.transform import get_perspective_transform, warp_perspective

    batch = image[None]
    shrink = math.dist(target[0], target[3]) / math.dist(source[0], source[3])
    if shrink < 1:
        height, width = image.shape[1:]
        reduced = [max(2, round(length * shrink)) for length in (height, width)]
        batch = F.interpolate(batch, size=reduced, mode="bicubic", antialias=True)
        a, b, c, d = ((x * reduced[1] / width, y * reduced[0] / height) for x, y in source)
        source = (a, b, c, d)
    corners = torch.tensor([source, target], dtype=torch.float64) - 0.5  # counted from pixel centres
    matrix = get_perspective_transform(corners[:1], corners[1:]).to(image.dtype).to(image.device)
    # Kornia 0.8.0 divides by the result's sides less one, which makes a single row NaN: it gets a second one.
    larger = max(2, size[0]), max(2, size[1])
    # With align_corners kornia's border repeats the outermost pixel from its centre on, as Pillow's does.
    projected: Tensor = warp_perspective(batch, matrix, larger, mode, padding_mode="border", align_corners=True)
    return projected[0, :, : size[0], : size[1]]
