"""Writes an evaluation as one page, which holds its pictures and loads nothing: numbers, distributions, best, worst."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from padinv.evaluation.measuring import ABOUT, HIGHER_IS_BETTER
from padinv.evaluation.pairs import Pictures
from padinv.evaluation.protocols import pixels_of
from padinv.evaluation.results import GAP, Evaluation, Number, extremes, interval_of, shown
from padinv.exceptions import ConfigError, DataError
from padinv.files import writing
from padinv.images import from_bytes, square, to_image
from padinv.pictures import plasma

TILE = 192
"""Pixels of a picture's side, enough for a sharp screen."""

BINS = 24
"""Bars of a histogram."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --page: #fff; --card: #f6f8fa; --line: #d0d7de;
  --mark: #0a58ca; --other: #b35900; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b3; --page: #0d1117; --card: #161b22;
  --line: #30363d; --mark: #6cb0ff; --other: #f0a04b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
p { max-width: 46rem; } .soft, figcaption, th { color: var(--soft); } .soft { margin-top: .25rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem 1rem .35rem 0; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 500; font-size: .85rem; } td.number { text-align: right; } td.about { color: var(--soft);
  white-space: normal; min-width: 12rem; }
.note { border-left: 3px solid var(--other); background: var(--card); padding: .6rem .9rem; }
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 16rem), 1fr)); }
.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .75rem; }
figcaption { font-size: .85rem; margin-top: .4rem; } figcaption b { color: var(--ink); font-weight: 600; }
.row { display: flex; gap: .5rem; } .row div { flex: 1; min-width: 0; font-size: .75rem; color: var(--soft); }
.row img, .rings { width: 100%; display: block; border-radius: 4px; } .rings { margin-top: .5rem; height: auto; }
.row img { image-rendering: auto; aspect-ratio: 1; object-fit: cover; }
svg { display: block; width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
.bar { fill: var(--mark); opacity: .75; } .other { fill: var(--other); } .axis { stroke: var(--line); }
.mean { stroke: var(--ink); stroke-width: 1.5; } .span { fill: var(--ink); opacity: .12; }
.whisker { min-width: 9rem; width: 12rem; } .whisker line { stroke: var(--mark); stroke-width: 2; }
.whisker circle { fill: var(--mark); } .curve { max-width: 36rem; }
@media (max-width: 44rem) { table { font-size: .85rem; } th.extra, td.extra { display: none; }
  th, td { padding-right: .7rem; white-space: normal; } }
details pre { overflow-x: auto; background: var(--card); padding: 1rem; }
"""


def write_report(results: Sequence[Evaluation], subject: Pictures, indices: Sequence[int], path: Path) -> None:
    """Writes the page.

    Args:
        results: an evaluation; or those of two methods, and of their difference.
        subject: has their pictures, of which the best and the worst are shown.
        indices: which of its pairs were compared.
        path: where the page goes.

    Raises:
        ConfigError: if it cannot be written.
    """
    with writing(path, ConfigError) as part:
        page = "\n".join(_page(results, subject, indices))
        part.write_text(page, encoding="utf-8", errors="backslashreplace")  # names need not be UTF-8


def _page(results: Sequence[Evaluation], subject: Pictures, indices: Sequence[int]) -> Iterator[str]:
    last = results[-1]
    count = len(last.names)
    yield "<!doctype html>"
    title = f"{last.method}: {count} image{'s' * (count != 1)}"
    yield f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{STYLE}</style></head><body>"
    protocol = last.protocol
    yield f"<h1>{escape(title)}</h1>"
    yield f'<p class="soft">Protocol <b>{protocol.name}</b>. {escape(protocol.about)}</p>'
    for remark in last.remarks[:20]:
        yield f'<p class="note">{escape(remark)}</p>'
    if len(last.remarks) > 20:
        yield f'<p class="note">And {len(last.remarks) - 20} more, which evaluation.json lists.</p>'
    for result in results:
        yield f"<h2>{escape(result.method) if len(results) > 1 else 'Numbers'}</h2>"
        yield from _table(result)
    for division, groups in ((name, groups) for name, groups in last.by_group.items() if groups):
        yield f"<h2>By {escape(division)}</h2>"
        yield from _groups(last, division, groups)
    if last.editing:
        yield f"<h2>Edits: {escape(str(last.facts.get('edit', '')))}</h2>"
        yield _curves(last)
    if last.values:  # none if only distances between sets were asked for
        yield '<h2>Distributions</h2><div class="cards">'
        for name in last.values:
            yield _histogram(name, results)
        yield "</div>"
        yield from _extremes(results, subject, indices)
    yield "<h2>How it was measured</h2>"
    yield (
        f"<p>Intervals of means: percentile bootstrap over images, {last.sampling.resamples:,} resamples, seed "
        f"{last.sampling.seed}, level {last.sampling.percent}. Intervals of distances between sets: seeded "
        "random subsets. A line in a histogram is the mean, the band its interval.</p>"
    )
    facts = {
        key: value for key, value in last.as_json().items() if key not in ("metrics", "groups", "remarks", "a", "b")
    }
    yield f"<details><summary>Settings and versions</summary><pre>{escape(json.dumps(facts, indent=2))}</pre></details>"
    yield "</body></html>"


def _table(result: Evaluation) -> Iterator[str]:
    yield '<div class="scroll"><table><thead><tr><th>metric</th><th>value</th>'
    yield f'<th>{result.sampling.percent} interval</th><th class="extra"></th><th>better</th><th>protocol</th>'
    yield '<th class="extra"></th></tr></thead><tbody>'
    for name, number in result.metrics.items():
        better = "higher" if name in HIGHER_IS_BETTER else "lower"
        yield (
            f'<tr><td><b>{escape(name)}</b></td><td class="number">{shown(number.value)}</td>'
            f'<td>{interval_of(number)}</td><td class="extra">{_whisker(number, result)}</td><td>{better}</td>'
            f'<td>{result.protocol_of(name)}</td><td class="about extra">{escape(_about(name))}</td></tr>'
        )
    yield "</tbody></table></div>"


def _about(name: str) -> str:
    if name in ABOUT:
        return ABOUT[name]
    kind = "Fréchet" if name.startswith("fd_") else "kernel"
    return f"{kind} distance of the sets, features of {name[3:]}: no {'FID' if kind == 'Fréchet' else 'KID'}"


def _whisker(number: Number, result: Evaluation) -> str:
    """The interval on a scale from 0, or around 0 for a difference, to its farther end."""
    if not all(map(math.isfinite, number)) or number.low == number.high:
        return ""
    low, high = min(0.0, number.low), max(0.0, number.high)
    place = [4 + 192 * (value - low) / (high - low) for value in (number.low, number.value, number.high, 0.0)]
    return (
        f'<svg class="whisker" viewBox="0 0 200 16" role="img" aria-label="interval {interval_of(number)}">'
        f'<path class="axis" d="M4 8H196M{place[3]:.1f} 2V14"/>'
        f'<line x1="{place[0]:.1f}" x2="{place[2]:.1f}" y1="8" y2="8"/>'
        f'<circle cx="{place[1]:.1f}" cy="8" r="3.5"/></svg>'
    )


def _groups(result: Evaluation, division: str, groups: dict[str, dict[str, Number]]) -> Iterator[str]:
    labels = result.groups[division]
    yield '<div class="scroll"><table><thead><tr><th>metric</th>'
    for group in groups:
        count = labels.count(group)
        yield f"<th>{group if group == GAP else f'{group}, {count} image' + 's' * (count != 1)}</th>"
    yield "</tr></thead><tbody>"
    for name in result.values:
        cells = "".join(
            f'<td>{shown(numbers[name].value)}<br><span class="soft">{interval_of(numbers[name])}</span></td>'
            for numbers in groups.values()
        )
        yield f"<tr><td><b>{escape(name)}</b></td>{cells}</tr>"
    yield "</tbody></table></div>"


def _curves(result: Evaluation) -> str:
    """Likeness over the change of the attribute, for each space of codes."""
    points = {space: list(zip(curve["change"], curve["kept"], strict=True)) for space, curve in result.editing.items()}
    every = [point for line in points.values() for point in line]
    most = max(1.0, *(x for x, _ in every))
    low, high = min(y for _, y in every), max(y for _, y in every)
    low, high = low - 0.05 * (high - low) - 1e-6, high + 0.05 * (high - low) + 1e-6
    drawn, legend = [], []
    for colour, (space, line) in zip(("mark", "other"), points.items(), strict=False):
        places = [(56 + 364 * max(0.0, x) / most, 150 - 140 * (y - low) / (high - low)) for x, y in line]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        drawn.append(f'<path d="M{path}" fill="none" stroke="var(--{colour})" stroke-width="2"/>')
        drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="var(--{colour})"/>' for x, y in places]
        area = result.editing[space]["area"]["value"]
        told = "–" if area is None else shown(area)
        legend.append(f'<span style="color: var(--{colour})">{escape(space)}</span> {told}')
    return (
        '<figure class="curve"><svg viewBox="0 0 430 180" role="img" aria-label="likeness over change">'
        f"{''.join(drawn)}"
        f'<path class="axis" d="M56 150H420M56 10V150" fill="none"/><text x="4" y="16">{shown(high)}</text>'
        f'<text x="4" y="150">{shown(low)}</text><text x="56" y="168">0</text>'
        f'<text x="420" y="168" text-anchor="end">change {shown(most)}</text></svg><figcaption>Likeness '
        f"({escape(str(result.facts.get('likeness', '')))}) over the change of the attribute; 1 is the whole way. "
        f"Area: {', '.join(legend)}</figcaption></figure>"
    )


def _histogram(name: str, results: Sequence[Evaluation]) -> str:
    """The values of all images; of two methods one over the other, in two colours."""
    shown_results = _methods(results)
    columns = [result.values[name][np.isfinite(result.values[name])] for result in shown_results]
    every = np.concatenate(columns)
    if not len(every):
        return f"<figure><figcaption><b>{escape(name)}</b>: no finite value</figcaption></figure>"
    low, high = float(every.min()), float(every.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    heights = [np.histogram(column, BINS, (low, high))[0] for column in columns]
    most = max(int(height.max()) for height in heights)
    bars = []
    for method, height in enumerate(heights):
        kind = "bar other" if method else "bar"
        for place, count in enumerate(height):
            if count:
                tall = 80 * count / most
                x, width = 8 + 224 / BINS * place, 224 / BINS - 1
                bars.append(
                    f'<rect class="{kind}" x="{x:.1f}" y="{88 - tall:.1f}" width="{width:.1f}" height="{tall:.1f}">'
                    f"<title>{count}</title></rect>"
                )
    number = shown_results[0].metrics[name]
    marks = ""
    if len(shown_results) == 1 and all(map(math.isfinite, number)):
        left, middle, right = (
            8 + 224 * (value - low) / (high - low) for value in (number.low, number.value, number.high)
        )
        marks = (
            f'<rect class="span" x="{left:.1f}" y="4" width="{max(1.0, right - left):.1f}" height="84"/>'
            f'<path class="mean" d="M{middle:.1f} 4V88"/>'
        )
    legend = "" if len(shown_results) == 1 else f" {_legend(shown_results)}"
    return (
        f'<figure><svg viewBox="0 0 240 104" role="img" aria-label="histogram of {escape(name)}">{"".join(bars)}{marks}'
        f'<path class="axis" d="M8 88H232"/><text x="8" y="101">{shown(low)}</text>'
        f'<text x="232" y="101" text-anchor="end">{shown(high)}</text></svg>'
        f"<figcaption><b>{escape(name)}</b>{legend}</figcaption></figure>"
    )


def _methods(results: Sequence[Evaluation]) -> Sequence[Evaluation]:
    """The evaluations of the methods, without that of their difference."""
    return results[:2] if len(results) == 3 else results[:1]


def _legend(results: Sequence[Evaluation]) -> str:
    colours = ("mark", "other")
    return ", ".join(
        f'<span style="color: var(--{colour})">{escape(result.method)}</span>'
        for colour, result in zip(colours, results, strict=True)
    )


def _extremes(results: Sequence[Evaluation], subject: Pictures, indices: Sequence[int]) -> Iterator[str]:
    """The best and the worst images of the first method, by LPIPS, each beside its photograph."""
    metric, best, worst = extremes(results[0])
    if metric in HIGHER_IS_BETTER:
        best, worst = worst, best
    methods = [result.method for result in _methods(results)]
    by = f"by {metric}" + (f" of {methods[0]}" if len(methods) > 1 else "")
    for title, places in (("Best", best), ("Worst", worst)):
        yield f'<h2>{title} {escape(by)}</h2><div class="cards wide">'
        for place in places:
            try:
                photograph, made, rings = subject.pictures(indices[place])
            except DataError:  # the file has gone since
                continue
            yield _card(results, place, methods, photograph, made, rings)
        yield "</div>"


def _card(
    results: Sequence[Evaluation],
    place: int,
    methods: Sequence[str],
    photograph: Image.Image,
    made: Sequence[Image.Image],
    rings: Tensor | None,
) -> str:
    target = square(photograph, TILE)
    tiles = [("photograph", target)]
    for number, image in enumerate(made):
        ours = square(image, TILE)
        what = "reconstruction" if len(made) == 1 else methods[number]
        tiles += [(what, ours), ("error", error_map(target, ours))]
    row = "".join(f'<div><img src="{_data(image)}" alt="{escape(what)}">{escape(what)}</div>' for what, image in tiles)
    drawn = ""
    if rings is not None:
        drawn = (
            f'<img class="rings" src="{_data(to_image(rings * 2 - 1))}" alt="padding rings around the feature maps">'
            '<div class="soft" style="font-size: .75rem">the constant, each ring around the map that it pads, features'
            "</div>"
        )
    numbers = ", ".join(
        f"{escape(name)} " + " / ".join(shown(result.values[name][place]) for result in results[: len(methods)])
        for name in results[0].values
    )
    name = escape(results[0].names[place])
    return f'<figure><div class="row">{row}</div>{drawn}<figcaption><b>{name}</b><br>{numbers}</figcaption></figure>'


def error_map(photograph: Image.Image, reconstruction: Image.Image) -> Image.Image:
    """|difference|, mean over channels, from dark (0) to bright (half of the range of pixels, or more).

    >>> error_map(Image.new("RGB", (2, 2)), Image.new("RGB", (2, 2))).getpixel((0, 0))
    (13, 8, 135)
    """
    difference = (from_bytes(pixels_of(photograph)) - from_bytes(pixels_of(reconstruction))).abs().mean(dim=0)
    return to_image(plasma(difference.clamp(0, 1)[None, None])[0] * 2 - 1)


def _data(image: Image.Image) -> str:
    """A picture inside of the page."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
