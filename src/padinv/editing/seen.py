"""How far along a direction codes were seen. Beyond that, nobody knows what the generator makes.

Strengths are counted from the mean code. Outside the range of real codes, images are usually no faces any more.
"""

from __future__ import annotations

from padinv.editing.directions import Direction
from padinv.editing.unsupervised import sample_w
from padinv.networks import Generator

LOWEST, HIGHEST = "lowest", "highest"
"""The keys of the range's ends in a direction's metadata."""

DEVIATIONS = 4.0
"""The range, in standard deviations, of linear directions whose file has none: almost no code lies beyond it."""


def seen_range(direction: Direction, generator: Generator) -> tuple[float, float]:
    """Finds the range of strengths, counted from the mean code, in which codes were seen along a direction.

    Args:
        direction: :func:`padinv.editing.linear` puts the range of the codes that it was fitted to into the metadata;
            for older files four standard deviations each way are assumed. For other directions the range is that of
            10,000 mapped latents.
        generator: the one that the direction is for.

    Returns:
        The lowest and the highest strength.
    """
    lowest, highest = (direction.metadata.get(key) for key in (LOWEST, HIGHEST))
    if isinstance(lowest, int | float) and isinstance(highest, int | float):
        return lowest, highest
    if direction.kind == "linear":
        return -DEVIATIONS, DEVIATIONS
    w = sample_w(generator).double()
    vector = direction.vector.detach().cpu().double()
    if direction.layers is not None and len(vector) > 1:
        vector = vector[list(direction.layers)]
    places = (w - w.mean(dim=0)) @ vector.sum(dim=0) / vector.square().sum()
    return float(places.min()), float(places.max())


def remarks(direction: Direction, strength: float, generator: Generator) -> list[str]:
    """Says what a user should know about an edit before it is done.

    Args:
        direction: the direction that codes move along.
        strength: how far they move.
        generator: the one that they are for.

    Returns:
        Sentences: which way it goes, if the direction knows, and that it goes further than it was seen to hold.
    """
    said = []
    towards = direction.metadata.get("positive" if strength > 0 else "negative")
    if towards is not None and strength != 0:
        said.append(f"{direction.name} {strength:+g}: towards {towards}.")
    lowest, highest = seen_range(direction, generator)
    if not lowest <= strength <= highest:
        said.append(
            f"{direction.name} {strength:+g} is further than the direction was seen to hold, from {lowest:.3g} to "
            f"{highest:.3g}: what comes out may be no face."
        )
    return said
