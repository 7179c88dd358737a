"""Draws a comparison: a figure of its metrics, and a sheet of twelve faces with a row for each encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from padinv.comparison.measuring import METRICS
from padinv.comparison.report import Line, Report
from padinv.exceptions import ConfigError
from padinv.files import writing
from padinv.images import to_array

SCALE = 2
"""Pixels for a unit of length below, so that text is sharp."""

ROW, PANEL, GAP, TOP, BOTTOM = 26, 230, 56, 46, 30
"""Height of a row, width of a panel, space between panels, above and below them."""

TEXT, TITLE, TICK = 13, 14, 11
"""Sizes of type."""

DARK, MIDDLE, LIGHT, BLUE = (40, 40, 40), (120, 120, 120), (225, 225, 225), (31, 91, 163)


def draw_figure(report: Report) -> Image.Image:
    """Draws a panel for each metric: a dot is the mean of a row, and a ring that of one seed.

    A bar is the interval of the difference, drawn from the baseline's mean, a dashed line. Where it crosses that line,
    these images do not tell the two apart.
    """
    lines, metrics = report.lines, report.metrics
    font = ImageFont.load_default(TEXT * SCALE)
    left = max(font.getlength(line.row.title) for line in lines) / SCALE + 16
    width = left + len(metrics) * (PANEL + GAP)
    height = TOP + len(lines) * ROW + BOTTOM
    image = Image.new("RGB", (round(width * SCALE), round(height * SCALE)), "white")
    canvas = _Canvas(ImageDraw.Draw(image))
    for i, line in enumerate(lines):
        own = line.row.name == report.comparison.baseline
        canvas.text(8, TOP + (i + 0.5) * ROW, line.row.title, TEXT, DARK if not own else BLUE, "lm")
    for number, metric in enumerate(metrics):
        _draw_panel(canvas, report, metric, left + number * (PANEL + GAP))
    return image


def _draw_panel(canvas: _Canvas, report: Report, metric: str, left: float) -> None:
    lines = report.lines
    base = next((line for line in lines if line.row.name == report.comparison.baseline), None)
    centre = None if base is None else base.found[metric].mean
    bars = [_bar(line, metric, centre) for line in lines]
    shown = [value for line in lines for value in (line.found[metric].mean, *line.found[metric].seeds)]
    shown += [end for bar in bars if bar is not None for end in bar]
    ticks = nice_ticks(min(shown), max(shown))
    low, high = min(ticks[0], *shown), max(ticks[-1], *shown)
    bottom = TOP + len(lines) * ROW

    def at(value: float) -> float:
        return left + (value - low) / ((high - low) or 1.0) * PANEL

    heading, better = METRICS[metric]
    canvas.text(left, 16, heading, TITLE, DARK, "lm")
    canvas.text(left, 33, better, TICK, MIDDLE, "lm")
    for tick in ticks:
        canvas.line(at(tick), TOP, at(tick), bottom, LIGHT)
        canvas.text(at(tick), bottom + 12, f"{tick:.4g}", TICK, MIDDLE, "mm")
    if centre is not None:
        canvas.dashed(at(centre), TOP, bottom, BLUE)
    for i, (line, bar) in enumerate(zip(lines, bars, strict=True)):
        y = TOP + (i + 0.5) * ROW
        if bar is not None:
            canvas.line(at(bar[0]), y, at(bar[1]), y, DARK, 2)
        for value in line.found[metric].seeds if len(line.seeds) > 1 else ():
            canvas.circle(at(value), y, 4, None, MIDDLE)
        canvas.circle(at(line.found[metric].mean), y, 4, BLUE if line is base else DARK, None)


def _bar(line: Line, metric: str, centre: float | None) -> tuple[float, float] | None:
    difference = line.found[metric].difference
    if difference is None or centre is None or not math.isfinite(difference.low + difference.high):
        return None
    return centre + difference.low, centre + difference.high


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers that span a range, in steps of 1, 2 or 5 times a power of ten.

    >>> nice_ticks(0.013, 0.041), nice_ticks(0.5, 0.5)
    ([0.01, 0.02, 0.03, 0.04, 0.05], [0.45, 0.5, 0.55])
    """
    span = (high - low) or abs(low) / 5 or 1.0
    if high == low:
        low, high = low - span / 2, high + span / 2
    power = 10.0 ** math.floor(math.log10(span))
    steps = [power * factor for factor in (0.1, 0.2, 0.5, 1, 2, 5, 10)]
    for step in steps:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first + 1 <= most:
            return [float(f"{number * step:.10g}") for number in range(first, last + 1)]
    return [low, high]


class _Canvas:
    """Draws in units that are SCALE pixels long."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self.draw = draw

    def text(self, x: float, y: float, words: str, size: int, colour: tuple[int, int, int], anchor: str) -> None:
        font = ImageFont.load_default(size * SCALE)
        self.draw.text((x * SCALE, y * SCALE), words, colour, font, anchor)

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: tuple[int, int, int], width: float = 1) -> None:
        ends = [x0 * SCALE, y0 * SCALE, x1 * SCALE, y1 * SCALE]
        self.draw.line(ends, colour, max(1, round(width * SCALE)))

    def dashed(self, x: float, y0: float, y1: float, colour: tuple[int, int, int]) -> None:
        for y in np.arange(y0, y1, 7):
            self.line(x, float(y), x, min(float(y) + 4, y1), colour)

    def circle(
        self,
        x: float,
        y: float,
        radius: float,
        fill: tuple[int, int, int] | None,
        outline: tuple[int, int, int] | None,
    ) -> None:
        box = [(x - radius) * SCALE, (y - radius) * SCALE, (x + radius) * SCALE, (y + radius) * SCALE]
        self.draw.ellipse(box, fill, outline, SCALE)


def draw_faces(titles: Sequence[str], rows: Sequence[Tensor], tile: int = 96, gap: int = 4) -> Image.Image:
    """Draws rows of images with a title before each.

    Args:
        titles: one for each row.
        rows: each (N, 3, R, R) in [0, 1], of any size R.
        tile: the side that images are brought to.
        gap: pixels between images.

    Raises:
        ConfigError: if there is not one title for each row.
    """
    if len(titles) != len(rows):
        raise ConfigError(f"There are {len(rows)} rows, and {len(titles)} titles for them.")
    font = ImageFont.load_default(15)
    left = math.ceil(max(font.getlength(title) for title in titles)) + 4 * gap
    width = left + max(len(row) for row in rows) * (tile + gap) + gap
    sheet = Image.new("RGB", (width, len(rows) * (tile + gap) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (title, row) in enumerate(zip(titles, rows, strict=True)):
        top = gap + i * (tile + gap)
        draw.text((2 * gap, top + tile / 2), title, DARK, font, "lm")
        resized = F.interpolate(row.float(), (tile, tile), mode="bicubic", antialias=row.shape[-1] > tile)
        for j, face in enumerate(to_array(resized * 2 - 1)):
            sheet.paste(Image.fromarray(face), (left + j * (tile + gap), top))
    return sheet


def read_strips(path: Path) -> tuple[Tensor, Tensor]:
    """Reads two rows of square images: photographs, and their reconstructions, (N, 3, R, R) in [0, 1] each.

    Raises:
        ConfigError: if the file cannot be read.
    """
    try:
        with Image.open(path) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float().div(255)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error}): remove measured.json beside it, to make it again."
        ) from error
    photographs, made = (torch.stack(torch.split(row, row.shape[1], dim=-1)) for row in pixels.chunk(2, dim=1))
    return photographs, made


def save_image(image: Image.Image, path: Path) -> Path:
    """Writes a picture, whole or not at all, and returns its path."""
    with writing(path, ConfigError, durable=False) as file:
        image.save(file)
    return path
