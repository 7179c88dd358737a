"""One picture of the first results of a folder."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image

from padinv.bulk.outputs import OutputFolder

HEIGHT = 4096
"""How high it gets, in pixels, unless one result alone is higher."""


def write_sheet(folder: OutputFolder, names: Iterable[str]) -> None:
    """Lays the grids of the first results below each other, in ``grid.png``.

    Args:
        folder: with the results.
        names: of the results; if there are none, nothing is written.
    """
    rows: list[Image.Image] = []
    for name in names:
        with Image.open(folder.file("grids", name)) as row:
            if rows and sum(other.height for other in rows) + row.height > HEIGHT:
                break
            rows.append(row.convert("RGB"))
    if not rows:
        return
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    folder.write(folder.path / "grid.png", sheet.save)
