"""Moves rings along with the maps that they pad, when latents are edited.

A ring was predicted for the photograph, and continues the map inside. An edit of the latents changes the map and its
style, but not the ring. The convolution then sees a border between them. The change has a closed form. With x·s the
modulated input of a padded convolution before the edit and x'·s' after it, and with e(·) the map continued by its
outermost pixels for one pixel, the ring becomes

    r' = r + e(x'·s') - e(x·s),  or  r' = r · |e(x'·s')| / |e(x·s)|.

Resolutions go in order, since a moved ring moves all maps behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from padinv.codes import InversionCode
from padinv.editing.combining import broadcast
from padinv.exceptions import ConfigError
from padinv.feature_maps import before_convolutions
from padinv.networks import Generator
from padinv.ops import map_to_ring

Transport: TypeAlias = Literal["add", "scale"]

Change: TypeAlias = Callable[[int, Tensor, Tensor], Tensor]
"""Makes another ring (B, C, 4R + 4): of R px, the border of the modulated map as such a ring, and the ring itself."""


@torch.no_grad()
def transport(
    code: InversionCode, edited: InversionCode, generator: Generator, how: Transport = "add"
) -> InversionCode:
    """Moves an edited code's rings as the edit has moved the maps inside them.

    Args:
        code: the code before the edit, of 1 or B images.
        edited: the code after it; its latents have moved, and perhaps more.
        generator: the one that the codes are for.
        how: "add" adds the change of the border to the ring; "scale" multiplies the ring by the change of the border's
            root mean square, over all channels: that of a single one may be next to nothing before the edit.

    Returns:
        The edited code with moved rings; itself if it has none.

    Raises:
        ConfigError: if the codes do not go together or are not this generator's, have rings at different resolutions
            or rings that the style scales, or there is no such way.

    >>> from padinv.codes import PaddingCode
    >>> generator = Generator(8, z_dim=8, w_dim=8, mapping_layers=1, channels={4: 4, 8: 4})
    >>> code = InversionCode(torch.randn(1, 4, 8), PaddingCode(None, {4: torch.randn(1, 4, 20)}))
    >>> moved = transport(code, replace(code, w_plus=code.w_plus + 1), generator)
    >>> torch.equal(moved.padding.rings[4], code.padding.rings[4]), moved.padding.padded_resolutions
    (False, [4])
    """
    if how not in get_args(Transport):
        raise ConfigError(f"how must be one of {', '.join(get_args(Transport))}, not {how!r}.")
    code, edited = broadcast(code=code, edited=edited)
    if edited.padding is None or not edited.padding.rings:
        return edited
    before, after = ([] if one.padding is None else one.padding.padded_resolutions for one in (code, edited))
    if before != after:
        raise ConfigError(f"The codes have rings at {before} and {after} px: give one code before and after an edit.")
    if edited.padding.scaled:
        raise ConfigError("The style scales these rings, so that they move with an edit already: leave transport out.")
    borders: dict[int, Tensor] = {}
    rings: dict[int, Tensor] = {}

    def remember(resolution: int, border: Tensor, ring: Tensor) -> Tensor:
        borders[resolution] = border
        return ring

    def move(resolution: int, border: Tensor, ring: Tensor) -> Tensor:
        old = borders[resolution]
        rings[resolution] = ring + (border - old) if how == "add" else ring * (_size(border) / _size(old))
        return rings[resolution]

    for one, change in ((code, remember), (edited, move)):
        with before_convolutions(generator, partial(_change_ring, change)):
            generator.synthesis(*one.parts)
    return replace(edited, padding=replace(edited.padding, rings=rings))


def _change_ring(change: Change, resolution: int, conv: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Gives a convolution another ring, if it has one: that which ``change`` makes of it and of its map's border."""
    if options.get("ring") is None:
        return None
    x, w = args
    modulated = F.pad(x * conv.style(w)[:, :, None, None], (1, 1, 1, 1), mode="replicate")
    return args, {**options, "ring": change(resolution, map_to_ring(modulated), options["ring"])}


def _size(ring: Tensor) -> Tensor:
    """Computes the root mean square of a ring (B, C, 4R + 4), as (B, 1, 1)."""
    return ring.square().mean(dim=(1, 2), keepdim=True).sqrt() + 1e-8
