"""An edit learned from one pair of photographs (PadInv, Bai et al. 2022, "customized editing")."""

from __future__ import annotations

from padinv.codes import InversionCode, PaddingCode
from padinv.editing.broadcasting import broadcast, check_finite
from padinv.exceptions import ConfigError


def transfer(
    before: InversionCode,
    after: InversionCode,
    target: InversionCode,
    strength: float = 1.0,
    padding_strength: float | None = None,
) -> InversionCode:
    """Does to a target what was done between two pictures: target + strength · (after - before).

    Args:
        before: the code of a picture, of 1 or B images.
        after: the code of the same picture, edited.
        target: what to edit, of 1 or B images.
        strength: of the difference in latents; 0 leaves them, negative values undo the edit.
        padding_strength: of the difference in padding; the same if not given. With 0 the codes may differ in padding.

    Returns:
        The code of B edited images; for ``target`` equal to ``before`` and strength 1 that is ``after``.

    Raises:
        ConfigError: if the codes do not go together, have different padding, or a strength is not finite.
    """
    check_finite(strength=strength, padding_strength=padding_strength)
    before, after, target = broadcast(before=before, after=after, target=target)
    padding_strength = strength if padding_strength is None else padding_strength
    w_plus = target.w_plus + strength * (after.w_plus - before.w_plus)
    return InversionCode(w_plus, _padding(before, after, target, padding_strength))


def _padding(before: InversionCode, after: InversionCode, target: InversionCode, strength: float) -> PaddingCode | None:
    if strength == 0 or (before.padding is None and after.padding is None and target.padding is None):
        return target.padding
    if before.padding is None or after.padding is None or target.padding is None:
        raise ConfigError(
            "Some of these codes have padding and some have none: encode all with it, or set padding_strength to 0."
        )
    return target.padding.map(lambda t, b, a: t + strength * (a - b), before.padding, after.padding)
