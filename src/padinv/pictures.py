"""Draws what the library does: sheets of images, and padding rings as heat maps."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import ImageDraw
from torch import Tensor
from torchvision.utils import make_grid, save_image

from padinv.codes import PaddingCode
from padinv.exceptions import ConfigError
from padinv.files import writing
from padinv.images import to_bytes, to_image, to_tensor
from padinv.typing import PathLike


def contact_sheet(rows: Sequence[Tensor], tile: int = 128, gap: int = 4) -> Tensor:
    """Lays images out in rows on white.

    Args:
        rows: each (N, 3, H, W) in [-1, 1]; values beyond are clamped. Small images are enlarged to ``tile`` px.
        tile: smallest height of an image in pixels.
        gap: pixels between images.

    Returns:
        (3, H', W') in [0, 1].

    >>> contact_sheet([torch.zeros(5, 3, 64, 64)] * 3).shape  # 3 · (128 + 4) + 4, 5 · (128 + 4) + 4
    torch.Size([3, 400, 664])
    """
    images = torch.cat([row.detach().float().cpu() for row in rows]).clamp(-1, 1) / 2 + 0.5
    if images.shape[-1] < tile:
        images = F.interpolate(images, size=(tile, tile), mode="bicubic").clamp(0, 1)
    grid: Tensor = make_grid(images, nrow=len(rows[0]), padding=gap, pad_value=1.0)
    return grid


def mark_points(
    image: Tensor, starts: Sequence[tuple[float, float]], ends: Sequence[tuple[float, float]] = (), tile: int = 128
) -> Tensor:
    """Draws points on an image, red, and arrows from them to others, blue.

    Args:
        image: (3, H, W) in [-1, 1]; values beyond are clamped. A small one is enlarged to ``tile`` px.
        starts: places (x, y) in pixels of the image.
        ends: the places (x, y) to which the arrows go; the last ones may be missing.
        tile: smallest height of the picture in pixels.

    Returns:
        (3, H', W') in [-1, 1].

    >>> mark_points(torch.zeros(3, 64, 64), [(10, 20)], [(30, 20)]).shape
    torch.Size([3, 128, 128])
    """
    picture = contact_sheet([image[None]], tile, gap=0)
    scale = picture.shape[-1] / image.shape[-1]
    drawn = to_image(picture * 2 - 1)
    draw = ImageDraw.Draw(drawn)
    width = max(1, round(drawn.width / 128))
    for place, start in enumerate(starts):
        x, y = ((coordinate + 0.5) * scale for coordinate in start)
        if place < len(ends):
            to_x, to_y = ((coordinate + 0.5) * scale for coordinate in ends[place])
            draw.line((x, y, to_x, to_y), "white", 2 * width)
            _dot(draw, (to_x, to_y), 3 * width, "#1565ff")
        _dot(draw, (x, y), 3 * width, "#e8112d")
    return to_tensor(drawn)


def _dot(draw: ImageDraw.ImageDraw, place: tuple[float, float], radius: float, colour: str) -> None:
    x, y = place
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour, "white")


def ring_heat_maps(padding: PaddingCode, tile: int = 128, gap: int = 4) -> Tensor:
    """Draws the magnitude of the padding, one row for each sample: the constant, then the ring of each resolution.

    Each is a :func:`heat_map`.

    Args:
        padding: the code of B images.
        tile: height of a map in pixels, of which a ring position takes at least one.
        gap: pixels between maps.

    Returns:
        (3, H', W') in [0, 1].
    """
    maps = list(padding.maps().values())
    if padding.const is not None:
        maps.insert(0, padding.const)
    return columns([heat_map(values, tile) for values in maps], gap)


def heat_map(values: Tensor, tile: int = 256, framed: bool = False) -> Tensor:
    """Draws the mean of |values| over channels, from dark (0) to bright (the largest in each map).

    Args:
        values: (B, C, H, H).
        tile: height of the picture in pixels, of which a position takes at least one.
        framed: whether a white line parts the outermost positions, the ring, from the rest.

    Returns:
        (B, 3, tile, tile) in [0, 1].

    >>> heat_map(torch.ones(2, 5, 6, 6), tile=64).shape
    torch.Size([2, 3, 64, 64])
    """
    heat = values.detach().float().cpu().abs().mean(dim=1, keepdim=True)
    heat = heat / heat.amax(dim=(2, 3), keepdim=True).clamp_min(1e-8)
    picture = F.interpolate(plasma(heat), size=(tile, tile), mode="nearest")
    if framed:
        near = round(tile / values.shape[-1])
        far = tile - near
        for line in (slice(near - 1, near + 1), slice(far - 1, far + 1)):
            picture[:, :, line, near - 1 : far + 1] = 1
            picture[:, :, near - 1 : far + 1, line] = 1
    return picture


def plasma(levels: Tensor) -> Tensor:
    """Colours levels (B, 1, H, W) in [0, 1], from dark blue to yellow: (B, 3, H, W) in [0, 1]."""
    from kornia.color import ColorMap, apply_colormap

    coloured: Tensor = apply_colormap(to_bytes(levels * 2 - 1), ColorMap("plasma", num_colors=256)).float()
    return coloured


def columns(tiles: Sequence[Tensor], gap: int = 4) -> Tensor:
    """Lays pictures side by side on white, a row for each sample: tiles (B, 3, H, W) in [0, 1] → (3, H', W')."""
    grid: Tensor = make_grid(torch.stack(list(tiles), dim=1).flatten(0, 1), len(tiles), padding=gap, pad_value=1.0)
    return grid


def save_picture(picture: Tensor, path: PathLike) -> None:
    """Writes a picture (3, H, W) in [0, 1], whole or not at all, as the kind of file that its name says.

    Raises:
        ConfigError: if the file cannot be written, or its ending is no picture's.
    """
    try:
        with writing(path, ConfigError, durable=False) as file:
            save_image(picture, file)
    except ConfigError:
        raise
    except ValueError as error:  # of an ending that is no picture's
        raise ConfigError(f"{os.fspath(path)} cannot be written ({error}).") from error
