"""From the face back into the photograph that it was taken from."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from padinv.exceptions import ConfigError, DataError
from padinv.inversion.alignment import Crop, Quad, clamped, project, whole


def paste_back(photograph: Tensor, face: Tensor, crop: Crop, feather: float = 0.1) -> Tensor:
    """Lays a face into its place in the photograph, fading out towards the border of the square.

    Away from the square every pixel is the original, bit for bit. Several faces are pasted one after the other.

    Args:
        photograph: (3, H, W) in [-1, 1].
        face: (3, R, R) in [-1, 1]; values beyond are clamped.
        crop: its place.
        feather: width of the fading, as a part of the square's side: from 0, a sharp border, to 0.5.

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
    layer = clamped(project(face.to(photograph), whole(face.shape[-1]), quad, (height, width), "bicubic"))
    original = photograph[:, top:bottom, left:right]
    pasted[:, top:bottom, left:right] = torch.where(mask > 0, torch.lerp(original, layer, mask), original)
    return pasted


def _feathered(quad: Quad, size: tuple[int, int], feather: float) -> Tensor:
    """The weight of the face, (h, w): 0 outside, 1 from `feather` on inwards, smooth in between."""
    y, x = torch.arange(size[0])[:, None] + 0.5, torch.arange(size[1]) + 0.5
    left, bottom, right, top = (
        ((x - ax) * (by - ay) - (y - ay) * (bx - ax)) / math.dist((ax, ay), (bx, by)) ** 2
        for (ax, ay), (bx, by) in zip(quad, quad[1:] + quad[:1], strict=True)
    )  # distances to the edges, in sides of the square: negative outside
    across, down = (torch.minimum(*opposite) / max(feather, 1e-9) for opposite in ((left, right), (top, bottom)))
    return _smoothstep(across.clamp(0, 1)) * _smoothstep(down.clamp(0, 1))


def _smoothstep(x: Tensor) -> Tensor:
    """From 0 at 0 to 1 at 1 without a corner: 3x² - 2x³."""
    return x * x * (3 - 2 * x)
