"""Fit the bundled directions of editing and write them to `src/padinv/assets/congress64-directions.safetensors`.

    python tools/bundle_directions.py DATA_DIR LABELS_CSV [--encoder FILE] [--generator FILE] [--output FILE]

LABELS_CSV (file, person, gender, birth_year, kind) names pictures below DATA_DIR. Directions are fitted to those under
`train/`. How good they are is measured twice: by cross-validation over people, and on the people who are under `test/`
alone. Both go into the metadata and onto the screen. The kind of picture (colour, grey) is kept out of the directions.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import torch

from padinv import InversionCode, PadInvEncoder, load_encoder, load_generator
from padinv.checkpoints import fingerprint
from padinv.editing import Direction, linear, save_directions
from padinv.images import load_tensor

ASSETS = Path(__file__).parents[1] / "src" / "padinv" / "assets"
LABELS = {  # column: the values of two classes, the one at negative strengths first; None for a number
    "gender": ("male", "female"),
    "birth_year": None,
}
Row = dict[str, str]


def encode(encoder: PadInvEncoder, files: list[Path], batch_size: int = 32) -> InversionCode:
    """The codes of pictures, cropped and resized as in training."""
    codes = []
    with torch.inference_mode():
        for start in range(0, len(files), batch_size):
            batch = [load_tensor(file.read_bytes(), encoder.resolution) for file in files[start : start + batch_size]]
            codes.append(encoder(torch.stack(batch)))
    return InversionCode.cat(codes)


def read_label(row: Row, column: str) -> float | None:
    """A label as a number, None if blank."""
    classes = LABELS[column]
    if not row[column]:
        return None
    return float(row[column] if classes is None else classes.index(row[column]))


def test_accuracy(direction: Direction, codes: InversionCode, labels: list[float | None]) -> tuple[float, int]:
    """The share of labelled codes that lie on their side of the hyperplane, and how many are labelled."""
    threshold = float(direction.metadata.get("median", 0.5))
    sides = zip((direction.distance(codes) > 0).tolist(), labels, strict=True)
    hits = [side == (label > threshold) for side, label in sides if label is not None]
    return sum(hits) / len(hits), len(hits)


def main(args: list[str] | None = None) -> None:
    """Parse the command line, fit, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("labels", type=Path, metavar="LABELS_CSV")
    parser.add_argument("--encoder", default="congress64", help="checkpoint of the encoder (default: the bundled one)")
    parser.add_argument("--generator", default="congress64", help="that it was trained for (default: the bundled one)")
    parser.add_argument("--output", type=Path, default=ASSETS / "congress64-directions.safetensors")
    options = parser.parse_args(args)

    with options.labels.open(newline="") as file:
        rows = list(csv.DictReader(file))
    train = [row for row in rows if row["file"].startswith("train/")]
    people = {row["person"] for row in train}
    test = [row for row in rows if row["file"].startswith("test/") and row["person"] not in people]
    encoder, generator = load_encoder(options.encoder), load_generator(options.generator)
    train_codes, test_codes = (encode(encoder, [options.data / row["file"] for row in part]) for part in (train, test))

    directions = []
    for column, classes in LABELS.items():
        direction = linear(
            train_codes,
            [read_label(row, column) for row in train],
            name=column,
            groups=[row["person"] for row in train],
            confounder=[row["kind"] for row in train],
            fingerprint=fingerprint(generator),
        )
        accuracy, count = test_accuracy(direction, test_codes, [read_label(row, column) for row in test])
        negative, positive = classes or ("earlier", "later")
        facts = {"negative": negative, "positive": positive, "test_accuracy": accuracy, "test_images": count}
        facts |= {"encoder": fingerprint(encoder)}
        directions.append(replace(direction, metadata={**direction.metadata, **facts}))
        print(f"{column}: {', '.join(f'{key} {value}' for key, value in directions[-1].metadata.items())}")
    print(f"{save_directions(directions, options.output)}: {options.output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
