"""How far a direction was seen to hold: beyond the codes that it comes from, a generator was never asked for images.

A strength leads from the mean code to where some codes lie, up to the last of them. What it makes further out is as a
rule no face any more.
"""

from __future__ import annotations

from padinv.editing.directions import Direction
from padinv.editing.unsupervised import sample_w
from padinv.networks import Generator

LOWEST, HIGHEST = "lowest", "highest"
"""What the metadata of a direction calls the ends of its range."""

DEVIATIONS = 4.0
"""The range of linear directions whose file does not tell: in standard deviations, where next to no code lies."""


def seen_range(direction: Direction, generator: Generator) -> tuple[float, float]:
    """From which strength to which a direction was seen to hold, counted from the mean code.

    Args:
        direction: one that :func:`padinv.editing.linear` found has the range of the codes it was fitted to in its
            metadata; of one in an older file four standard deviations each way are assumed. For others it is that of
            10,000 mapped latents.
        generator: it is for.

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
    """What a user should know of an edit before it is done.

    Args:
        direction: along which codes move.
        strength: how far.
        generator: they are for.

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
            f"{direction.name} {strength:+g} is further than the direction was seen to hold, from {lowest:.2g} to "
            f"{highest:.2g}: what comes out may be no face."
        )
    return said
