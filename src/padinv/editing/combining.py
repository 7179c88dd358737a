"""Combines codes: blends, mixes, interpolates, truncates them, or transfers an edit.

A code of one image can be combined with codes of many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from padinv.codes import InversionCode, PaddingCode
from padinv.editing.layers import Layers, parse_layers
from padinv.exceptions import ConfigError
from padinv.networks import Generator
from padinv.typing import Easing


def blend(
    contour: InversionCode,
    details: InversionCode,
    *,
    rings: Iterable[int] | None = None,
    const: bool = True,
    features: Iterable[int] = (),
    mask: Tensor | None = None,
) -> InversionCode:
    """Takes the padding of one code and the latents of another: contour and pose of a face, and its details.

    Args:
        contour: the code that gives the padding, of 1 or B images.
        details: the code that gives the latents and the rest, of 1 or B images. If it has no padding, the rest is the
            generator's zeros and constant.
        rings: resolutions in pixels at which the ring is the contour's; all of its rings if not given.
        const: whether the constant, if there is one, is the contour's, too.
        features: resolutions at which features are the contour's; at others they are those of the details. None by
            default: features hold eyes, mouth and whatever is in front of the face.
        mask: (H, W) in [0, 1], such as :func:`face_mask`: where it is 0, the features are the contour's after all. So
            one person's face gets the other's hair and background.

    Returns:
        The code of B blended images.

    Raises:
        ConfigError: if the contour has no padding, or no ring or features at a resolution, if the codes do not go
            together, or if the mask is no mask.

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
    up_rings = {} if theirs is None else {r: ring for r, ring in theirs.up_rings.items() if r not in chosen}
    up_rings |= {r: ring for r, ring in ours.up_rings.items() if r in chosen}  # they go with the rings of their size
    if theirs is not None and theirs.rings and ours.rings and theirs.scaled != ours.scaled:
        raise ConfigError("The style scales the rings of one code and not of the other: encode both with one encoder.")
    scaled = ours.scaled and bool(blended)
    padding = PaddingCode(constant, blended, up_rings, scaled) if blended or constant is not None else None
    taken = set(features)
    if missing := sorted(taken - set(contour.features or {})):
        raise ConfigError(
            f"features names {missing} px, but the contour has features at {contour.feature_resolutions} px."
        )
    mixed = {r: residual for r, residual in (details.features or {}).items() if r not in taken}
    if mask is not None:
        mixed = _masked(mask, mixed, contour.features or {})
    mixed |= {r: residual for r, residual in (contour.features or {}).items() if r in taken}
    return InversionCode(details.w_plus, padding, mixed)


def face_mask(size: int) -> Tensor:
    """Makes a mask (size, size) for :func:`blend`: 1 on the face of an aligned portrait, 0 around it, soft in between.

    >>> [round(value, 1) for value in face_mask(8)[4].tolist()]
    [0.0, 0.2, 1.0, 1.0, 1.0, 1.0, 0.2, 0.0]
    """
    places = (torch.arange(size) + 0.5) * 2 / size - 1
    x, y = places, places[:, None] - 0.1  # the face of an aligned portrait is a bit below the middle
    distance = ((x / 0.55).square() + (y / 0.65).square()).sqrt()  # 1 at the edge: cheeks, chin and forehead
    return torch.sigmoid(12 * (1 - distance))


def _masked(mask: Tensor, inside: Mapping[int, Tensor], outside: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Mixes features: the first where the mask is 1, and the second, or none, where it is 0."""
    if mask.ndim != 2 or not ((mask >= 0) & (mask <= 1)).all():
        raise ConfigError(f"mask must be (H, W) with numbers from 0 to 1, not {tuple(mask.shape)}.")
    mixed = {}
    for r, residual in inside.items():
        weight = F.interpolate(mask[None, None].to(residual), size=(r, r), mode="area")
        mixed[r] = weight * residual + (1 - weight) * outside.get(r, torch.zeros_like(residual))
    return mixed


def mix(coarse: InversionCode, fine: InversionCode, layers: Layers) -> InversionCode:
    """Replaces some latents of one code by another's: style mixing (StyleGAN, Karras et al. 2018, section 3.1).

    Args:
        coarse: the code that gives the padding and all other latents, of 1 or B images.
        fine: the code that gives the latents of ``layers``, of 1 or B images.
        layers: numbers of latents; "4-" are those from number 4 up, from the second layer of 16 px on.

    Returns:
        The code of B mixed images.

    Raises:
        ConfigError: if the codes do not go together, or there are no such layers.
    """
    coarse, fine = broadcast(coarse=coarse, fine=fine)
    chosen = set(parse_layers(layers, coarse.w_plus.shape[1]))
    sources = [(fine if layer in chosen else coarse).w_plus[:, layer] for layer in range(coarse.w_plus.shape[1])]
    return replace(coarse, w_plus=torch.stack(sources, dim=1))


def interpolate(a: InversionCode, b: InversionCode, frames: int, easing: Easing = "linear") -> Iterator[InversionCode]:
    """Goes from one code to another, in latents, padding and features: (1 - t)·a + t·b.

    Args:
        a: the code at the start, of 1 or B images.
        b: the code at the end, of 1 or B images.
        frames: how many codes there are, both ends included, 2 or more.
        easing: "linear", or "smooth" for a slow start and end.

    Returns:
        The codes one after another, B images each; the first is ``a``, the last ``b``.

    Raises:
        ConfigError: if the codes do not go together, there are fewer than two frames, or the easing is unknown.

    >>> a, b = (InversionCode(torch.full((1, 6, 16), value)) for value in (0.0, 1.0))
    >>> [round(code.w_plus.mean().item(), 4) for code in interpolate(a, b, 5, "smooth")]  # 3/16 - 2/64 = 0.1562
    [0.0, 0.1562, 0.5, 0.8438, 1.0]
    """
    if frames < 2:
        raise ConfigError(f"frames must be 2 or more, both ends included, not {frames}.")
    if easing not in get_args(Easing):
        raise ConfigError(f"easing must be one of {', '.join(get_args(Easing))}, not {easing!r}.")
    a, b = broadcast(a=a, b=b)
    times = (frame / (frames - 1) for frame in range(frames))
    return (a.lerp(b, t if easing == "linear" else t * t * (3 - 2 * t)) for t in times)


def truncate(
    code: InversionCode,
    generator: Generator,
    psi: float = 0.7,
    truncation_cutoff: int | None = None,
    *,
    layers: int | None = None,
) -> InversionCode:
    """Pulls latents towards the mean, w_avg + psi · (w - w_avg), and leaves the rest: images become typical.

    Args:
        code: (B, L, w_dim), padding and features.
        generator: the one that the code is for; it has the mean latent.
        psi: 1 leaves latents as they are, 0 is the mean.
        truncation_cutoff: how many of the first latents to pull; all if not given.
        layers: its earlier name.

    Returns:
        The code of B images.

    Raises:
        ConfigError: if the latents are not this generator's, or psi is not finite.
    """
    check_finite(psi=psi)
    generator.synthesis.check(code.w_plus)
    return replace(code, w_plus=generator.truncate(code.w_plus, psi, truncation_cutoff, layers=layers))


def transfer(
    before: InversionCode,
    after: InversionCode,
    target: InversionCode,
    strength: float = 1.0,
    padding_strength: float | None = None,
    feature_strength: float | None = None,
) -> InversionCode:
    """Applies the difference between two pictures to a target: target + strength · (after - before).

    Args:
        before: the code of a picture, of 1 or B images.
        after: the code of the same picture, edited.
        target: what to edit, of 1 or B images.
        strength: a factor of the difference in latents; 0 leaves them, negative values undo the edit.
        padding_strength: a factor of the difference in padding; ``strength`` if not given. With 0 the codes may differ
            in padding.
        feature_strength: the same for the features.

    Returns:
        The code of B edited images; for ``target`` equal to ``before`` and strength 1 that is ``after``.

    Raises:
        ConfigError: if the codes do not go together, have different padding or features, or a strength is not finite.
    """
    check_finite(strength=strength, padding_strength=padding_strength, feature_strength=feature_strength)
    before, after, target = broadcast(before=before, after=after, target=target)
    padding_strength = strength if padding_strength is None else padding_strength
    feature_strength = strength if feature_strength is None else feature_strength
    w_plus = target.w_plus + strength * (after.w_plus - before.w_plus)
    features = target.features
    if feature_strength != 0:
        resolutions = [code.feature_resolutions for code in (before, after, target)]
        if resolutions[0] != resolutions[1] or resolutions[1] != resolutions[2]:
            raise ConfigError(
                f"These codes have features at {', '.join(map(str, resolutions))} px: encode all by one encoder, or "
                "set feature_strength to 0."
            )
        b, a = before.features or {}, after.features or {}
        features = {r: t + feature_strength * (a[r] - b[r]) for r, t in (target.features or {}).items()}
    return InversionCode(w_plus, _transferred(before, after, target, padding_strength), features)


def _transferred(
    before: InversionCode, after: InversionCode, target: InversionCode, strength: float
) -> PaddingCode | None:
    if strength == 0 or (before.padding is None and after.padding is None and target.padding is None):
        return target.padding
    if before.padding is None or after.padding is None or target.padding is None:
        raise ConfigError(
            "Some of these codes have padding and some have none: encode all with it, or set padding_strength to 0."
        )
    return target.padding.map(lambda t, b, a: t + strength * (a - b), before.padding, after.padding)


def check_finite(**numbers: float | Tensor | None) -> None:
    """Raises ConfigError naming a number, or one of several in a tensor, that is NaN or infinite."""
    for name, value in numbers.items():
        if value is not None and not torch.as_tensor(value).isfinite().all():
            raise ConfigError(f"{name} must be finite, not {value}.")


def broadcast(**codes: InversionCode) -> tuple[InversionCode, ...]:
    """Repeats codes of one image, without copying, as often as the others have images.

    Args:
        codes: the codes, of 1 or B images each, by the names that messages call them.

    Returns:
        The codes, B images each.

    Raises:
        ConfigError: if two have different numbers of images and neither has one, or their latents differ in shape.
    """
    sizes = {name: len(code) for name, code in codes.items()}
    batch_size = next((size for size in sizes.values() if size != 1), 1)
    if not set(sizes.values()) <= {1, batch_size}:
        raise ConfigError(f"Codes go together if each has one image or all have as many, but there are {_list(sizes)}.")
    shapes = {name: tuple(code.w_plus.shape[1:]) for name, code in codes.items()}
    if len(set(shapes.values())) > 1:
        raise ConfigError(f"These codes are not for one generator: their latents are {_list(shapes)}.")
    return tuple(code if len(code) == batch_size else code.expand(batch_size) for code in codes.values())


def _list(facts: dict[str, int] | dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{fact} in {name}" for name, fact in facts.items())
