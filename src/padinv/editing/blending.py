"""The layout of one photograph with the appearance of another (PadInv, Bai et al. 2022, "face blending")."""

from __future__ import annotations

from collections.abc import Iterable

from padinv.codes import InversionCode, PaddingCode
from padinv.editing.broadcasting import broadcast
from padinv.exceptions import ConfigError


def blend(
    contour: InversionCode, details: InversionCode, *, rings: Iterable[int] | None = None, const: bool = True
) -> InversionCode:
    """Takes the padding of one code and the latents of another: contour and pose of a face, and its details.

    Args:
        contour: gives the padding, of 1 or B images.
        details: gives the latents, and what is not taken of the contour's padding, of 1 or B images. Where it has none,
            the generator's own zeros or constant stay.
        rings: resolutions in pixels whose ring is the contour's; all that it has if not given.
        const: whether the constant, if there is one, is the contour's, too.

    Returns:
        The code of B blended images.

    Raises:
        ConfigError: if the contour has no padding, or no ring at a resolution, or if the codes do not go together.

    >>> import torch
    >>> def code(value: float) -> InversionCode:
    ...     rings = {r: torch.full((1, 2, 4 * r + 4), value) for r in (4, 8)}
    ...     return InversionCode(torch.full((1, 6, 16), value), PaddingCode(torch.full((1, 2, 4, 4), value), rings))
    >>> {name: part.mean().item() for name, part in blend(code(1.0), code(2.0), rings=[4]).named_tensors().items()}
    {'w_plus': 2.0, 'const': 1.0, 'ring_4': 1.0, 'ring_8': 2.0}
    """
    contour, details = broadcast(contour=contour, details=details)
    if contour.padding is None:
        raise ConfigError("Blending takes the padding of the contour, but this code has none: encode with padding.")
    ours, theirs = contour.padding, details.padding
    chosen = set(ours.rings if rings is None else rings)
    if missing := sorted(chosen - set(ours.rings)):
        raise ConfigError(f"rings names {missing} px, but the contour has rings at {ours.padded_resolutions} px.")
    blended = {} if theirs is None else {r: ring for r, ring in theirs.rings.items() if r not in chosen}
    blended |= {r: ours.rings[r] for r in chosen}
    own = theirs.const if theirs is not None else None
    constant = ours.const if const and ours.const is not None else own
    padding = PaddingCode(constant, blended) if blended or constant is not None else None
    return InversionCode(details.w_plus, padding)
