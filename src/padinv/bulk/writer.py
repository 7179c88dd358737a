"""Writes the results of each photograph as soon as they are there, and one picture of all results."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor

from padinv.bulk.naming import names_of_faces
from padinv.bulk.outputs import OutputFolder, Record
from padinv.bulk.photographs import Photograph
from padinv.exceptions import ConfigError, PadInvError, printable
from padinv.images import to_array
from padinv.inversion.paste import paste_into
from padinv.progress import Progress

SIDE = 2048
"""The largest width and height of a sheet, in pixels: it fits most screens and mails."""

CAPTION = 20
"""Height of a line of text, in pixels."""

GAP = 8
"""Pixels between grids."""


class ResultWriter(Callback):
    """Writes the files of each photograph, and its record last: a photograph with a record has all its files.

    Args:
        folder: for the results.
        progress: shows how many photographs are done, as if all processes were as far as this one.
    """

    def __init__(self, folder: OutputFolder, progress: Progress) -> None:
        self.folder = folder
        self.progress = progress

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        """Writes what :meth:`padinv.bulk.BulkInversion.predict_step` returns.

        Raises:
            ConfigError: if a file cannot be written.
            SIGTERMException: if the process was told to end; Lightning's own loop checks only in training and
                validation.
        """
        photographs: list[Photograph] = outputs
        for photograph in photographs:
            for sentence in [*filter(None, [photograph.problem]), *photograph.remarks]:
                print(f"padinv: {sentence}", file=sys.stderr)
            try:
                self.folder.add(self._write(photograph), trainer.global_rank)
            except PadInvError as error:
                lost = f"The results of {photograph.path} are lost: {error} The same command goes on there."
                raise ConfigError(lost) from error
        if trainer.received_sigterm:
            raise SIGTERMException
        self.progress.to(self.progress.done + len(photographs) * trainer.world_size)

    def _write(self, photograph: Photograph) -> Record:
        if photograph.problem:
            return {"photograph": photograph.path, "error": photograph.problem}
        name, results = photograph.name, photograph.results
        self.folder.remove_other_faces(photograph.path, name, len(results))
        for result, own in zip(results, names_of_faces(name, len(results)), strict=True):
            image = result.inversion.images[0].clamp(-1, 1) / 2 + 0.5
            self.folder.write(self.folder.file("images", own), partial(write_png, image))
            self.folder.write(self.folder.file("grids", own), partial(write_png, result.grid))
            self.folder.write(self.folder.file("codes", own), partial(result.inversion.save, images=False))
        if "photographs" in self.folder.kinds and photograph.image is not None:
            places = [(result.inversion.images[0], result.inversion.crop[0]) for result in results]
            pasted = paste_into(photograph.original or photograph.image, places, match=True)
            self.folder.write(
                self.folder.file("photographs", name), partial(pasted.save, format="PNG", compress_level=3)
            )
        return {
            "photograph": photograph.path,
            "name": name,
            **{key: mean(result.metrics[key] for result in results) for key in results[0].metrics},
            **({"detector": found} if (found := results[0].inversion.detector) else {}),
            "seconds": round(photograph.seconds, 4),
            "faces": len(results),
            "settings": photograph.settings,
        }

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merges the records, once all processes are done."""
        trainer.strategy.barrier("padinv results")
        if trainer.is_global_zero:
            self.folder.merge()


def write_png(image: Tensor, path: Path) -> None:
    """Writes (3, H, W) in [0, 1] with a little less compression than usual, in a third of the time."""
    Image.fromarray(to_array(image * 2 - 1)).save(path, "PNG", compress_level=3)


def write_sheet(folder: OutputFolder) -> None:
    """Draws the grids of a folder in columns into ``grid.png``, as many as fit; without grids it writes nothing."""
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
    """The pictures that can be read, each read when it is asked for."""
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
