"""Compare encoders of one generator by how well they invert and how well their codes can be edited, in one table.

    python tools/compare_designs.py DATA_DIR LABELS_CSV "W+ alone=wplus.ckpt" "published padding=published.ckpt" \
        "padding and features=congress64" [--also DIR CSV]… [--columns NAME…] [--identity FILE] [--output FILE] \
        [--figure FILE] [--faces FILE]

The arguments are those of tools/bundle_directions.py. Each encoder gets directions of its own, fitted in the same way
to the codes of the pictures under `train/` and of --also. The pictures under `test/` are measured. Edits go from one
end of each column to the other. A classifier in AlexNet's features judges how far a picture has changed: 0 is no
change, 1 the whole way to photographs of the other end. It is fitted to all labelled pictures, in two halves, and each
picture is judged by the half that has not seen it. Likeness is the mean on the way to the change that all encoders
reach, and LEC is read off there. Differences are paired; they are those to the first encoder whose title holds the word
"published", or to the first one. --faces is a sheet of twelve people: each encoder's pictures of them, and the same
edited towards the second end of the first column.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from bundle_directions import ENDS, LABELS, divide, read_label, read_rows
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from write_tables import cell as with_interval
from write_tables import table

from padinv import InversionCode, Inverter
from padinv.checkpoints import fingerprint
from padinv.comparison.drawing import draw_faces
from padinv.comparison.measuring import chosen
from padinv.editing import Direction, blend, linear, mix
from padinv.evaluation.attributes import AttributeScore, attribute_features
from padinv.evaluation.blends import blend_distances
from padinv.evaluation.editability import (
    STRENGTHS,
    editing_consistency,
    likeness_on_the_way,
    read_at_equal_change,
    to_encoder,
)
from padinv.evaluation.measuring import identity_measure, perceptual_measure
from padinv.evaluation.results import Sampling, mean_of, shown
from padinv.images import load_tensor
from padinv.metrics.per_image import Measure, mean_square
from padinv.metrics.structure import multi_scale_similarity

SAMPLING = Sampling()
CPU = torch.device("cpu")
Values = NDArray[np.float64]


@dataclass
class Portraits:
    """Pictures (N, 3, R, R) in [-1, 1], and the row of a table with the labels of each."""

    images: Tensor
    rows: list[dict[str, str]]

    @classmethod
    def of(cls, files: list[bytes], rows: list[dict[str, str]], resolution: int) -> Portraits:
        """Those of image files."""
        return cls(torch.stack([load_tensor(file, resolution) for file in files]), rows)

    def labels(self, column: str) -> list[float | None]:
        """0 and 1, or None."""
        return [read_label(row, column) for row in self.rows]


def measures(identity: str | None) -> dict[str, Measure]:
    """Name → what measures pictures."""
    found: dict[str, Measure] = {
        "mse": mean_square,
        "lpips": perceptual_measure("alex", None, CPU),
        "ms_ssim": multi_scale_similarity,
    }
    return found if identity is None else {**found, "identity": identity_measure(identity, CPU)}


class Design:
    """An encoder that is compared.

    Args:
        inverter: the encoder and the generator that it was trained for.
        fitted: the portraits that its directions are fitted to.
    """

    def __init__(self, inverter: Inverter, fitted: Portraits) -> None:
        self.inverter, self.fitted = inverter, fitted
        self.code = self.inverter.encode(fitted.images)
        self.numbers = sum(part[0].numel() for part in self.code.tensors())

    def direction(self, column: str) -> Direction:
        """Towards the second of the column's two labels."""
        return linear(
            self.code,
            self.fitted.labels(column),
            name=column,
            groups=[row.get("person") or str(number) for number, row in enumerate(self.fitted.rows)],
            confounder=[row.get("kind", "") for row in self.fitted.rows],
            fingerprint=fingerprint(self.inverter.generator),
        )

    @torch.inference_mode()
    def fidelity(self, images: Tensor, metrics: Mapping[str, Measure]) -> dict[str, Values]:
        """Metric → a number for each picture; and of its contour blended with the details of the next one."""
        code = self.inverter.encode(images)
        made = to_encoder(self.inverter, self.inverter.reconstruct(code))
        pairs = list(zip(made.split(16), images.split(16), strict=True))
        found = {name: torch.cat([each(*pair) for pair in pairs]) for name, each in metrics.items()}
        others = torch.arange(len(images)).roll(1)
        blended = mix(code, code[others], "4-") if code.padding is None else blend(code, code[others])
        pictures = to_encoder(self.inverter, self.inverter.reconstruct(blended))
        found |= {f"blend: {name}": each for name, each in blend_distances(pictures, images, images[others]).items()}
        return {name: values.double().numpy() for name, values in found.items()}

    @torch.inference_mode()
    def edits(self, images: Tensor, direction: Direction, likeness: Measure) -> tuple[Tensor, Values, Values]:
        """AlexNet's features (K, N, D) of edits of each strength, their likeness to the photographs, and LEC (K, N)."""
        features = attribute_features(self.inverter)
        vectors: list[list[Tensor]] = [[] for _ in STRENGTHS]
        kept: list[list[Tensor]] = [[] for _ in STRENGTHS]
        undone: list[list[Tensor]] = [[] for _ in STRENGTHS]
        for part in images.split(16):
            codes: InversionCode = self.inverter.encode(part)
            for place, strength in enumerate(STRENGTHS):
                edited = to_encoder(self.inverter, self.inverter.reconstruct(direction.apply(codes, strength)))
                vectors[place].append(features(edited))
                kept[place].append(likeness(edited, part))
                undone[place].append(editing_consistency(self.inverter, codes, direction, strength))
        stacked, likenesses, errors = (
            torch.stack([torch.cat(one) for one in every]) for every in (vectors, kept, undone)
        )
        return stacked, likenesses.double().numpy(), errors.double().numpy()


def compare(
    designs: Mapping[str, Design],
    fitted: Portraits,
    tested: Portraits,
    columns: list[str],
    identity: str | None,
    figure: Path | None = None,
) -> str:
    """Two tables: of fidelity, and of edits; and a figure of likeness over change.

    Args:
        designs: title → encoder.
        fitted: portraits for directions and classifiers.
        tested: portraits of other people.
        columns: the attributes.
        identity: file of a recognition network; without it likeness is 1 - LPIPS.
        figure: where the figure goes, an SVG file; None for no figure.
    """
    base = next((title for title in designs if "published" in title), next(iter(designs)))
    metrics = measures(identity)
    likeness: Measure = metrics.get("identity") or (lambda a, b: 1 - metrics["lpips"](a, b))
    found = {title: design.fidelity(tested.images, metrics) for title, design in designs.items()}
    names = list(found[base])
    lines = [["", "numbers", *(f"`{name}`" if name in metrics else name for name in names)]]
    for title, design in designs.items():
        lines.append([title, f"{design.numbers:,}", *(cell(found[title], found[base], name) for name in names)])
    edits = [["from, to", "", "change at the end", "likeness at equal change", "LEC at that change"]]
    first = next(iter(designs.values())).inverter
    features = attribute_features(first)
    everyone = Portraits(torch.cat([fitted.images, tested.images]), fitted.rows + tested.rows)
    with torch.inference_mode():
        real = torch.cat([features(part) for part in everyone.images.split(64)]).numpy()
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for column in columns:
        known = [row for row, label in enumerate(everyone.labels(column)) if label is not None]
        labels = [label for label in everyone.labels(column) if label is not None]
        score = AttributeScore(real[known], labels, SAMPLING.seed)
        rows = np.array([i for i, row in enumerate(known) if row >= len(fitted.rows) and labels[i] < 0.5])
        images = everyone.images[[known[row] for row in rows]]
        curves = {}
        for title, design in designs.items():
            vectors, kept, undone = design.edits(images, design.direction(column), likeness)
            change = np.stack([score.score(each.numpy(), rows) for each in vectors])
            curves[title] = (change - change[0], kept, undone)
        reach = min(1.0, *(float(change.mean(axis=1).max()) for change, _, _ in curves.values()))
        values = {
            title: {
                "kept": likeness_on_the_way(change, kept, reach),
                "lec": read_at_equal_change(change, undone, np.array([reach]))[0],
            }
            for title, (change, kept, undone) in curves.items()
        }
        start, end = ENDS.get(column) or LABELS[column] or ("lower", "higher")
        panels[f"{column}: {' → '.join(LABELS[column] or ('lower', 'higher'))}"] = {
            title: list(zip(change.mean(axis=1), kept.mean(axis=1), strict=True))
            for title, (change, kept, _) in curves.items()
        }
        about = f"{start} → {end}: {len(rows)} portraits, up to {shown(reach)}, classifier {score.accuracy:.3f}"
        for number, (title, (change, _, _)) in enumerate(curves.items()):
            own = [cell(values[title], values[base], name) for name in ("kept", "lec")]
            edits.append([about if not number else "", title, shown(float(change[-1].mean())), *own])
    if figure is not None:
        figure.write_text(draw_curves(panels), encoding="utf-8")
    legend = f"Below a number stands its paired difference to {base}; in brackets are 95 % intervals."
    return "\n\n".join(
        [table(lines[0], lines[1:]), table(edits[0], edits[1:]), f"{legend} {len(tested.rows)} portraits."]
    )


@torch.inference_mode()
def draw_sheet(designs: Mapping[str, Design], tested: Portraits, column: str, strength: float = 2.0) -> Image.Image:
    """Twelve portraits, what each design makes of them, and of their edits."""
    images = tested.images[chosen(len(tested.rows))]
    rows = {"photograph": images}
    edited: dict[str, Tensor] = {}
    for title, design in designs.items():
        code = design.inverter.encode(images)
        rows[title] = design.inverter.reconstruct(code)
        edit = design.direction(column).apply(code, strength)
        edited[f"{title}, {(LABELS[column] or ('', 'higher'))[1]}"] = design.inverter.reconstruct(edit)
    rows |= edited
    return draw_faces(list(rows), [row.clamp(-1, 1) / 2 + 0.5 for row in rows.values()])


COLOURS = ("#0a58ca", "#b35900", "#2b8a3e", "#7048a8")


def draw_curves(panels: Mapping[str, Mapping[str, list[tuple[float, float]]]]) -> str:
    """An SVG: for each title of a panel, and each line in it, likeness over change, a dot for each strength."""
    places = [place for lines in panels.values() for line in lines.values() for place in line]
    most, low, high = max(x for x, _ in places), min(y for _, y in places), max(y for _, y in places)
    parts = []
    for number, (panel, lines) in enumerate(panels.items()):
        left = 50 + 290 * number
        parts.append(f'<text x="{left}" y="18" font-weight="bold">{panel}</text>')
        parts.append(f'<path d="M{left} 30V190H{left + 240}" fill="none" stroke="#999"/>')
        parts.append(f'<text x="{left + 240}" y="206" text-anchor="end">change {shown(most)}</text>')
        parts += [f'<text x="{left - 6}" y="{y}" text-anchor="end">{v:.2f}</text>' for v, y in ((high, 40), (low, 190))]
        for place, (title, line) in enumerate(lines.items()):
            dots = [(left + 240 * max(0, x) / most, 190 - 150 * (y - low) / (high - low)) for x, y in line]
            path, colour = "L".join(f"{x:.1f} {y:.1f}" for x, y in dots), COLOURS[place % len(COLOURS)]
            parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in dots]
            if not number:
                parts.append(f'<text x="{left + 200 * place}" y="230" fill="{colour}">{title}</text>')
    width = 20 + 290 * len(panels) + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 244" font-family="sans-serif" font-size="12">'
        f'<rect width="{width}" height="244" fill="white"/>{"".join(parts)}</svg>\n'
    )


def cell(values: Mapping[str, Values], base: Mapping[str, Values], name: str) -> str:
    """A mean with its interval, and below it that of the paired difference to another design."""
    text = with_interval(mean_of(values[name], SAMPLING))
    if values is base:
        return text
    difference = mean_of(values[name] - base[name], SAMPLING)
    return f"{text}<br>{'+' if difference.value > 0 else ''}{with_interval(difference)}".replace("-", "−")


def main(args: list[str] | None = None) -> None:
    """Reads the command line, measures, and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("labels", type=Path, metavar="LABELS_CSV")
    parser.add_argument("designs", nargs="+", metavar="TITLE=ENCODER")
    parser.add_argument("--also", type=Path, nargs=2, action="append", default=[], metavar=("DIR", "CSV"))
    parser.add_argument("--columns", nargs="+", choices=LABELS, default=["gender", "pose", "light", "background"])
    parser.add_argument("--generator", default="congress64", help="that all encoders were trained for")
    parser.add_argument("--identity", help="recognition network (.onnx), another than the training's")
    parser.add_argument("--output", type=Path, help="file for the tables")
    parser.add_argument("--figure", type=Path, help="file for the curves, .svg")
    parser.add_argument("--faces", type=Path, help="file for twelve faces, .webp or .png")
    options = parser.parse_args(args)
    others = [row for folder, path in options.also for row in read_rows(path, folder)]
    train, test = divide(read_rows(options.labels, options.data), others)
    wanted = [row for row in train if any(row.get(column) for column in options.columns)]
    inverters = {
        title: Inverter.from_pretrained(source, options.generator, device=CPU, keep_memory=False)
        for title, source in (each.split("=", 1) for each in options.designs)
    }
    resolution = next(iter(inverters.values())).resolution
    parts = ([Path(row["path"]).read_bytes() for row in part] for part in (wanted, test))
    fitted, tested = (Portraits.of(files, part, resolution) for files, part in zip(parts, (wanted, test), strict=True))
    designs = {title: Design(inverter, fitted) for title, inverter in inverters.items()}
    text = compare(designs, fitted, tested, options.columns, options.identity, options.figure)
    if options.output is not None:
        options.output.write_text(f"{text}\n", encoding="utf-8")
    if options.faces is not None:
        draw_sheet(designs, tested, options.columns[0]).save(options.faces, quality=90)
    print(text)


if __name__ == "__main__":
    main()
