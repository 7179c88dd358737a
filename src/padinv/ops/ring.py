"""The padding ring: a border one pixel wide, predicted instead of zero (PadInv, Bai et al. 2022).

A ring around an R×R map has 4R + 4 positions. They are stored in reading order: the top row (R + 2), then left and
right of each of the R rows, then the bottom row (R + 2).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from padinv.exceptions import ConfigError


def ring_positions(resolution: int) -> int:
    """Number of positions in the ring around a map of R×R pixels, 4R + 4.

    >>> [ring_positions(r) for r in (4, 8, 16, 32)], sum(ring_positions(r) for r in (4, 8, 16, 32))
    ([20, 36, 68, 132], 256)
    """
    return 4 * resolution + 4


def pad_with_ring(x: Tensor, ring: Tensor) -> Tensor:
    """Lays a ring around a map, in a new tensor: neither argument is written to.

    A ring of zeros is zero padding bit for bit. The gradient reaches the ring at its positions and the map inside.

    Args:
        x: feature maps (B, C, R, R).
        ring: their borders in reading order, (B, C, 4R + 4); cast to the type of ``x``.

    Returns:
        (B, C, R + 2, R + 2) with ``x`` in the middle.

    Raises:
        ConfigError: if the ring does not have 4R + 4 positions, and as many channels as the map.

    >>> pad_with_ring(torch.zeros(1, 1, 1, 1), torch.arange(1.0, 9.0).view(1, 1, 8)).int().tolist()
    [[[[1, 2, 3], [4, 0, 5], [6, 7, 8]]]]
    """
    resolution = x.shape[-1]
    if ring.shape[-2:] != (x.shape[1], ring_positions(resolution)):
        raise ConfigError(
            f"A ring around maps of {x.shape[1]} channels and {resolution} px has shape (B, {x.shape[1]}, "
            f"{ring_positions(resolution)}), but this one has {tuple(ring.shape)}; was it made for another generator?"
        )
    lengths = [resolution + 2, 2 * resolution, resolution + 2]
    top, sides, bottom = torch.split(ring.to(x.dtype), lengths, dim=-1)
    left, right = rearrange(sides, "b c (row side) -> side b c row 1", side=2)
    middle = torch.cat([left.expand(*x.shape[:-1], 1), x, right.expand(*x.shape[:-1], 1)], dim=-1)
    row = (*x.shape[:2], 1, resolution + 2)
    return torch.cat([top.unsqueeze(-2).expand(row), middle, bottom.unsqueeze(-2).expand(row)], dim=-2)


def map_to_ring(padded: Tensor) -> Tensor:
    """Takes the border off a map: the inverse of :func:`ring_to_map`.

    Args:
        padded: (B, C, R + 2, R + 2), of which only the border counts.

    Returns:
        (B, C, 4R + 4) in reading order.

    >>> map_to_ring(torch.arange(9).view(1, 1, 3, 3)).tolist()
    [[[0, 1, 2, 3, 5, 6, 7, 8]]]
    """
    sides = rearrange(padded[..., 1:-1, :: padded.shape[-1] - 1], "b c row side -> b c (row side)")
    return torch.cat([padded[..., 0, :], sides, padded[..., -1, :]], dim=-1)


def ring_to_map(ring: Tensor) -> Tensor:
    """Draws a ring as a map with zeros inside.

    Args:
        ring: (B, C, 4R + 4).

    Returns:
        (B, C, R + 2, R + 2).
    """
    resolution = ring.shape[-1] // 4 - 1
    return pad_with_ring(ring.new_zeros(*ring.shape[:2], resolution, resolution), ring)


def upsampled_ring(ring: Tensor, weight: Tensor, resolution: int) -> Tensor:
    """What a ring adds to the result of an upsampling convolution.

    StyleGAN2 puts zeros between the pixels of an R×R map, convolves, and filters. These steps are linear and cut
    nothing off, so their order does not matter: filtering first leaves a map of (2R + 2)×(2R + 2), and the convolution
    with the weight turned by 180°, without padding, then makes 2R×2R of it. The ring lies around these 2R×2R. There
    the filter has left a quarter of the outermost pixels, to which the ring is added. The convolution is linear, so
    what the ring adds is computed by itself. A ring of zeros adds nothing.

    Args:
        ring: (B, I, 8R + 4) in reading order.
        weight: (O, I, 3, 3) as for the transposed convolution.
        resolution: 2R.

    Returns:
        (B, O, 2R, 2R).

    Raises:
        ConfigError: if the ring does not lie around 2R×2R, or does not have the weight's input channels.
    """
    expected = (weight.shape[1], ring_positions(resolution))
    if ring.shape[-2:] != expected:
        raise ConfigError(
            f"A ring of the convolution that upsamples to {resolution} px has shape (B, {expected[0]}, {expected[1]}), "
            f"but this one has {tuple(ring.shape)}; was it made for another generator?"
        )
    return F.conv2d(ring_to_map(ring), weight.flip(2, 3))
