"""Draws the results of a folder in one picture: their grids in columns, each with its name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice

from PIL import Image, ImageDraw, ImageFont

from padinv.bulk.outputs import OutputFolder
from padinv.exceptions import printable

SIDE = 2048
"""The largest width and height of a sheet, in pixels."""

CAPTION = 20
"""Height of a line of text, in pixels."""

GAP = 8
"""Pixels between grids."""


def write_sheet(folder: OutputFolder) -> None:
    """Draws the grids of a folder in columns into ``grid.png``, as many as fit.

    Args:
        folder: with the results; if there are none, nothing is written.
    """
    names = folder.names_of_results
    sizes = [grid.size for _, grid in islice(_grids(folder, names), 64)]
    if not sizes:
        return
    width, height = (max(side) for side in zip(*sizes, strict=True))
    scale = min(1.0, (SIDE - 2 * GAP) / width, (SIDE - 2 * GAP - 2 * CAPTION) / height)
    width, height = max(1, int(width * scale)), max(1, int(height * scale))
    wide, high = width + GAP, height + CAPTION + GAP
    # as square as possible, with no empty columns
    columns = max(1, min((SIDE - GAP) // wide, math.ceil(math.sqrt(len(names) * high / wide)), len(names)))
    rows = min(max(1, (SIDE - GAP - CAPTION) // high), math.ceil(len(names) / columns))
    chosen = list(islice(_grids(folder, names), columns * rows))
    sheet = Image.new("RGB", (columns * wide + GAP, rows * high + GAP + CAPTION * (len(chosen) < len(names))), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for number, (name, grid) in enumerate(chosen):
        left, top = GAP + number % columns * wide, GAP + number // columns * high
        if grid.width > width or grid.height > height:
            grid.thumbnail((width, height), Image.Resampling.LANCZOS)
        sheet.paste(grid, (left, top))
        draw.text((left + 2, top + height + 2), _shortened(name, font, width - 4), "black", font)
    if len(chosen) < len(names):
        text = f"{len(chosen)} of {len(names)}; the others are in grids/"
        draw.text((GAP + 2, sheet.height - CAPTION), text, "black", font)
    folder.write(folder.path / "grid.png", sheet.save)


def _grids(folder: OutputFolder, names: Sequence[str]) -> Iterator[tuple[str, Image.Image]]:
    """The pictures that can be read, one at a time."""
    for name in names:
        try:
            with Image.open(folder.file("grids", name)) as grid:
                yield name, grid.convert("RGB")
        except (OSError, SyntaxError, ValueError):
            continue


def _shortened(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Shortens a name in the middle until it fits."""
    name = text = printable(name)
    for kept in range(len(name) - 1, 0, -1):
        if font.getlength(text) <= width:
            break
        text = f"{name[: kept // 2]}…{name[len(name) - kept + kept // 2 :]}"
    return text
