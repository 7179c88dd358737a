"""Divides photographs of faces by skin tone, and by grey and colour, so that no group's error hides in a mean.

Skin tone is the individual typology angle (Chardon et al. 1991), ITA = arctan((L* - 50) / b*) · 180/π, of the skin
between eyes and mouth. It belongs to the photograph, not to the person: light and camera change it. Photographs without
colour have none.
"""

from __future__ import annotations

import math

import torch
from PIL import Image
from torch import Tensor

from padinv.evaluation.protocols import pixels_of
from padinv.images import from_bytes, square

ORDER = {"light": 0, "medium": 1, "dark": 2, "colour": 0, "grey": 1}
"""The order of groups in tables."""

LIGHT, DARK = 41.0, 10.0
"""Angles, in degrees, above which skin is light and below which it is dark: Chardon's classes, two by two."""

SKIN = ((0.52, 0.68), (0.28, 0.44), (0.56, 0.72))
"""Rows of both cheeks in a portrait cropped by FFHQ's recipe, and columns of each, as shares of the side: below the
eyes, which are at 0.47, and above the mouth, which is at 0.75."""

GREY_CHROMA = 2.5
"""Mean √(a*² + b*²) below which a photograph is grey: JPEG leaves up to 1."""

SIDE = 128
"""Pixels of the portrait that is looked at."""


def typology_angle(portrait: Tensor) -> float:
    """The individual typology angle of an aligned portrait in degrees: large for light skin, negative for dark.

    It takes the cheeks' median L* and b*, which glasses, beards and highlights change little.

    Args:
        portrait: (3, H, W) in [-1, 1], cropped by the recipe of ``padinv invert --align``.

    >>> light = torch.tensor([0.90, 0.76, 0.68]).reshape(3, 1, 1).expand(3, 8, 8) * 2 - 1
    >>> dark = torch.tensor([0.35, 0.22, 0.16]).reshape(3, 1, 1).expand(3, 8, 8) * 2 - 1
    >>> typology_angle(light) > LIGHT, typology_angle(dark) < DARK
    (True, True)
    """
    lab = _lab(portrait)
    height, width = lab.shape[1:]
    (top, bottom), *sides = SKIN
    rows = slice(round(top * height), round(bottom * height))
    cheeks = torch.cat(
        [lab[:, rows, round(left * width) : round(right * width)].flatten(1) for left, right in sides], 1
    )
    lightness, _, yellow = cheeks.median(dim=1).values.tolist()
    return math.degrees(math.atan2(lightness - 50, max(yellow, 1e-6)))


def is_grey(picture: Tensor) -> bool:
    """Whether a picture (3, H, W) in [-1, 1] has no colour."""
    return float(_lab(picture)[1:].norm(dim=0).mean()) < GREY_CHROMA


def tone_of(angle: float) -> str:
    """The group of an angle.

    >>> tone_of(55.0), tone_of(25.0), tone_of(-30.0)
    ('light', 'medium', 'dark')
    """
    return "light" if angle > LIGHT else "dark" if angle < DARK else "medium"


def groups_of(photograph: Image.Image) -> dict[str, str]:
    """Division → group of a photograph, 8-bit RGB, cropped to the face: "tone", "" without colour, and "colour"."""
    portrait = from_bytes(pixels_of(square(photograph, SIDE)))
    if is_grey(portrait):
        return {"tone": "", "colour": "grey"}
    return {"tone": tone_of(typology_angle(portrait)), "colour": "colour"}


def _lab(picture: Tensor) -> Tensor:
    """CIE L*a*b*, (3, H, W)."""
    from kornia.color import rgb_to_lab

    lab: Tensor = rgb_to_lab(picture.float().clamp(-1, 1)[None] / 2 + 0.5)[0]
    return lab
