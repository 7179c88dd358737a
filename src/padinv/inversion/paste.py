"""Lays faces back into the photographs that they were taken from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from padinv.colour import convert
from padinv.exceptions import ConfigError, DataError
from padinv.images import original, to_image, to_tensor
from padinv.inversion.alignment import Crop, Quad, centre_square, clamped, project, warp
from padinv.inversion.matching import REACH
from padinv.inversion.matching import match as matched

OVAL = 0.15
"""The least width of the fading of a matched face's outline, as a part of the square's side."""


def paste_back(photograph: Tensor, face: Tensor, crop: Crop, feather: float = 0.1, *, match: bool = False) -> Tensor:
    """Lays a face into its place in the photograph, fading out towards the border of the square.

    Outside the square every pixel is the original, bit for bit. Several faces are pasted one after the other.

    Args:
        photograph: (3, H, W) in [-1, 1].
        face: (3, R, R) in [-1, 1]; values beyond are clamped.
        crop: the face's place.
        feather: width of the fading, as a part of the square's side: from 0, a sharp border, to 0.5.
        match: whether the face gets the photograph's sharpness and grain (:mod:`padinv.inversion.matching`) and an oval
            outline, so that it does not look like a mask; otherwise it is laid in as it is.

    Returns:
        A new tensor (3, H, W) in [-1, 1].

    Raises:
        ConfigError: if ``feather`` is out of its range.
        DataError: if the crop is of a photograph of another size, or the face is not square.

    >>> from padinv.inversion.alignment import centre_square
    >>> paste_back(torch.zeros(1, 2, 4), torch.ones(1, 8, 8), centre_square((4, 2)), feather=0)
    tensor([[[0., 1., 1., 0.],
             [0., 1., 1., 0.]]])
    """
    crop.check(photograph)
    if not 0 <= feather <= 0.5:
        raise ConfigError(f"feather is a part of the square's side, 0 to 0.5, not {feather}.")
    if face.ndim != 3 or face.shape[0] != photograph.shape[0] or face.shape[1] != face.shape[2]:
        raise DataError(f"A face to paste is ({photograph.shape[0]}, R, R), not {tuple(face.shape)}.")
    left, top, right, bottom = crop.box
    pasted = photograph.clone()
    if left == right or top == bottom:
        return pasted
    quad = crop.moved(-left, -top)
    height, width = bottom - top, right - left
    mask = _feathered(quad, (height, width), feather).to(photograph.dtype).to(photograph.device)
    place = centre_square((face.shape[-1],) * 2).quad
    layer = clamped(project(face.to(photograph), place, quad, (height, width), "bicubic"))
    original = photograph[:, top:bottom, left:right]
    if match:
        mask = mask * _oval(quad, (height, width), max(feather, OVAL)).to(mask)
        fine = _oval(quad, (height, width), min(REACH * max(feather, OVAL), 1.0)).to(mask)
        coarse = project(warp(photograph, crop, face.shape[-1]), place, quad, (height, width), "bicubic")
        layer = clamped(matched(layer, original, coarse, fine * mask, mask))
    pasted[:, top:bottom, left:right] = torch.where(mask > 0, torch.lerp(original, layer, mask), original)
    return pasted


def paste_into(
    photograph: Image.Image, faces: Sequence[tuple[Tensor, Crop]], feather: float = 0.1, *, match: bool = False
) -> Image.Image:
    """Lays faces into a photograph in its own colours: :func:`paste_back` for the image in a file.

    The faces are converted to the photograph's colour profile, not the photograph to sRGB. Transparent areas stay
    transparent. Outside the squares every pixel is the original.

    Args:
        photograph: any of Pillow's; it is taken upright, in 8 bits, as RGB or RGBA (:func:`padinv.images.original`).
        faces: each (3, R, R) in [-1, 1], in sRGB, and its place.
        feather: as for :func:`paste_back`.
        match: as for :func:`paste_back`.

    Returns:
        A new image with the profile in ``info["icc_profile"]``. Pillow writes it into PNG, TIFF and AVIF files; for
        JPEG and WebP say ``image.save(path, icc_profile=image.info.get("icc_profile"))``.

    Raises:
        ConfigError: as :func:`paste_back`.
        DataError: as :func:`paste_back`, or if the photograph cannot be read.
    """
    own = original(photograph)
    profile = own.info.get("icc_profile")
    alpha = to_tensor(own.getchannel("A").convert("RGB"))[:1] / 2 + 0.5 if own.mode == "RGBA" else torch.ones(1)
    colours = to_tensor(own.convert("RGB"))
    before = pasted = 1 + (colours - 1) * alpha  # on white, as the face was seen
    for face, crop in faces:
        pasted = paste_back(pasted, _in_profile(face.detach().float().cpu(), profile), crop, feather, match=match)
    # The colour that gives the face when laid on white with the photograph's transparency.
    pasted = torch.where((pasted != before) & (alpha > 0), 1 + (pasted - 1) / alpha.clamp_min(1 / 255), colours)
    result = to_image(pasted)
    if own.mode == "RGBA":
        result.putalpha(own.getchannel("A"))
    result.info = dict(own.info)
    return result


def _in_profile(face: Tensor, profile: bytes | None) -> Tensor:
    return face if profile is None else to_tensor(convert(to_image(face), None, profile))


def _feathered(quad: Quad, size: tuple[int, int], feather: float) -> Tensor:
    """Makes the weight of the face, (h, w): 0 outside, 1 from ``feather`` on inwards, smooth in between."""
    y, x = torch.arange(size[0])[:, None] + 0.5, torch.arange(size[1]) + 0.5
    left, bottom, right, top = (
        ((x - ax) * (by - ay) - (y - ay) * (bx - ax)) / math.dist((ax, ay), (bx, by)) ** 2
        for (ax, ay), (bx, by) in zip(quad, quad[1:] + quad[:1], strict=True)
    )  # distances to the edges, in sides of the square: negative outside
    across, down = (torch.minimum(*opposite) / max(feather, 1e-9) for opposite in ((left, right), (top, bottom)))
    return _smoothstep(across.clamp(0, 1)) * _smoothstep(down.clamp(0, 1))


def _oval(quad: Quad, size: tuple[int, int], width: float) -> Tensor:
    """Makes the weight of a face in an oval, (h, w): 1 in the middle, 0 from the square's edge on.

    The fading is ``width`` wide, as a part of the side. The oval touches the edges: it holds hair and chin, and leaves
    out the corners, which show only background.
    """
    y, x = torch.arange(size[0])[:, None] + 0.5, torch.arange(size[1]) + 0.5
    (ax, ay), (bx, by), _, (dx, dy) = quad
    u = ((x - ax) * (dx - ax) + (y - ay) * (dy - ay)) / math.dist((ax, ay), (dx, dy)) ** 2 * 2 - 1
    v = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / math.dist((ax, ay), (bx, by)) ** 2 * 2 - 1
    # A superellipse: between a circle and the square.
    radius = (u.abs() ** 3 + v.abs() ** 3) ** (1 / 3)
    return _smoothstep(((1 - radius) / (2 * width)).clamp(0, 1))


def _smoothstep(x: Tensor) -> Tensor:
    """Leads from 0 at 0 to 1 at 1 without a corner: 3x² - 2x³."""
    return x * x * (3 - 2 * x)
