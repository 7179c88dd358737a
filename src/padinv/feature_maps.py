"""Draws what the padded convolutions read: feature maps inside their rings; and the features of a code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.codes import InversionCode
from padinv.networks import Generator
from padinv.ops import pad_with_ring, ring_positions
from padinv.pictures import columns, heat_map


@torch.no_grad()
def padded_maps(generator: Generator, code: InversionCode) -> dict[int, Tensor]:
    """The input of each stride-1 convolution of the synthesis: the map after modulation, with its ring.

    Without a ring the border is zero. As in the convolution, no style multiplies the ring, unless the code says so.

    Args:
        generator: the network; it is left as it is.
        code: the code of B images.

    Returns:
        {R: (B, C_R, R + 2, R + 2)} for each resolution R of the generator, ascending.

    Raises:
        ConfigError: if the code is of another generator.
    """
    maps: dict[int, Tensor] = {}

    def remember(resolution: int, conv: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        x, w = args
        style: Any = conv.style
        ring = options.get("ring")
        if ring is None:
            ring = x.new_zeros(*x.shape[:2], ring_positions(resolution))
        scale = style(w)
        ring = ring * scale[:, :, None] if options.get("scale_ring") else ring
        maps[resolution] = pad_with_ring(x * scale[:, :, None, None], ring)

    with before_convolutions(generator, remember):
        generator.synthesis(*code.parts)
    return maps


@contextmanager
def before_convolutions(generator: Generator, hook: Callable[..., Any]) -> Iterator[None]:
    """Calls a function before each stride-1 convolution whenever the generator runs inside the context.

    Args:
        generator: the network; it is left as it is.
        hook: called with the resolution, then as ``register_forward_pre_hook(with_kwargs=True)`` calls: convolution,
            arguments, options. It returns what to call the convolution with instead, or None.
    """
    handles = []
    for name, block in generator.synthesis.blocks.items():
        conv: Any = block.conv
        handles.append(conv.register_forward_pre_hook(partial(hook, int(name)), with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def draw_code(
    generator: Generator, code: InversionCode, images: Sequence[Tensor] = (), tile: int = 256, gap: int = 4
) -> Tensor:
    """Draws codes, a row for each sample: images, the constant, map and ring of each padded resolution, features.

    A ring is drawn around the feature maps that it pads (:func:`padded_maps`), with a white line between; the colour is
    the mean of |value| over channels, of ring and map on one scale. Features are drawn as residuals.

    Args:
        generator: the generator that the code is for.
        code: the code of B images.
        images: drawn before the rest, each (B, 3, H, W) in [-1, 1].
        tile: height of a picture in pixels.
        gap: pixels between pictures.

    Returns:
        (3, H', W') in [0, 1].

    Raises:
        ConfigError: if the code is of another generator.
    """
    tiles = [
        F.interpolate(image.detach().float().cpu().clamp(-1, 1) / 2 + 0.5, size=tile, mode="bicubic").clamp(0, 1)
        for image in images
    ]
    maps = padded_maps(generator, code)
    padding = code.padding
    if padding is not None and padding.const is not None:
        tiles.append(heat_map(padding.const, tile))
    tiles += [heat_map(maps[r], tile, framed=True) for r in (padding.padded_resolutions if padding else sorted(maps))]
    tiles += [heat_map(residual, tile) for _, residual in sorted((code.features or {}).items())]
    return columns(tiles, gap)
