"""Fit the bundled directions of editing and write them to `src/padinv/assets/congress64-directions.safetensors`.

    python examples/label_faces.py DATA_DIR --labels DATA_DIR/labels.csv -o labels.csv
    python tools/bundle_directions.py DATA_DIR labels.csv [--also DIR CSV]… [--columns NAME…] [--least 0.85] \
        [--seen tools/labels_seen.csv] [--encoder FILE] [--generator FILE] [--output FILE]

LABELS_CSV (file, person, kind and the columns) names pictures below DATA_DIR. Directions are fitted to those under
`train/`, and to all of --also. How good they are is measured twice: by cross-validation over people, and on the people
who are under `test/` alone. Both go into the metadata and onto the screen. A direction with less balanced accuracy than
--least in either is not written. The kind of picture (colour, grey) is kept out of the directions. The details that
somebody saw are fitted to mirrored portraits, too.

Labels of --seen, by the files' names without suffix, are what somebody saw in enlarged portraits; they take the place
of a table's. Directions that nobody labelled, but looked at and named, come last (FOUND).
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import torch

from padinv import Generator, InversionCode, PadInvEncoder, load_encoder, load_generator
from padinv.checkpoints import fingerprint
from padinv.editing import Direction, ganspace, linear, save_directions
from padinv.exceptions import ConfigError
from padinv.images import load_tensor

ASSETS = Path(__file__).parents[1] / "src" / "padinv" / "assets"
LABELS = {  # column: the values of two classes, the one at negative strengths first; None for a number
    "gender": ("male", "female"),
    "birth_year": None,
    "pose": ("left", "right"),
    "smile": ("closed", "teeth"),
    "glasses": ("no", "yes"),
    "hair": ("dark", "light"),
    "age": ("young", "old"),
    "beard": ("no", "yes"),
    "light": ("left", "right"),
    "background": ("dark", "light"),
}
ENDS = {  # column: what its two ends are called, where the labels alone would not tell
    "birth_year": ("earlier", "later"),
    "smile": ("a closed mouth", "a smile that shows teeth"),
    "glasses": ("no glasses", "glasses"),
    "hair": ("dark hair", "grey or blond hair"),
    "pose": ("turned to the picture's left", "turned to the picture's right"),
    "light": ("lit from the picture's left", "lit from the picture's right"),
    "background": ("a dark background", "a light background"),
}
IN_FEATURES = {"smile", "glasses", "hair", "age", "beard"}
"""Columns whose hyperplane lies in the features: the bundled encoder's latents say little of such details."""
FOUND = {  # name: number of the component of W, its sign (which is chance), the layers that it moves, its two ends
    "warmth": (8, -1, "6-9", "cool colours", "warm colours"),
    "contrast": (1, 1, "6-9", "soft", "hard"),
}
Row = dict[str, str]


def encode(encoder: PadInvEncoder, files: list[Path], batch_size: int = 32, mirrored: bool = False) -> InversionCode:
    """The codes of pictures, cropped and resized as in training."""
    codes = []
    with torch.inference_mode():
        for start in range(0, len(files), batch_size):
            batch = [load_tensor(file.read_bytes(), encoder.resolution) for file in files[start : start + batch_size]]
            codes.append(encoder(torch.stack(batch).flip(-1) if mirrored else torch.stack(batch)))
    return InversionCode.cat(codes)


def read_rows(table: Path, folder: Path) -> list[Row]:
    """The rows of a table, with the path of each picture; blank where a column is missing."""
    with table.open(newline="", encoding="utf-8") as file:
        return [{**row, "path": str(folder / row["file"])} for row in csv.DictReader(file)]


def divide(rows: list[Row], others: list[Row]) -> tuple[list[Row], list[Row]]:
    """Rows to fit to, those under `train/` and all others, and rows under `test/` of people who are not among them."""
    train = [row for row in rows if row["file"].startswith("train/")] + others
    people = {row.get("person") for row in train} - {None, ""}
    return train, [row for row in rows if row["file"].startswith("test/") and row["person"] not in people]


def found_directions(generator: Generator) -> list[Direction]:
    """The principal components of W that were looked at and named for what they do."""
    directions = []
    for name, (number, sign, layers, negative, positive) in FOUND.items():
        component = ganspace(generator, count=number + 1, layers=layers)[number]
        facts = {"negative": negative, "positive": positive, "found": "unsupervised, named by eye"}
        metadata = {**component.metadata, **facts}
        directions.append(replace(component, name=name, vector=sign * component.vector, metadata=metadata))
    return directions


def read_label(row: Row, column: str) -> float | None:
    """A label as a number, None if blank or another word."""
    classes = LABELS[column]
    if not row.get(column) or (classes and row[column] not in classes):
        return None
    return float(row[column] if classes is None else classes.index(row[column]))


def test_accuracy(direction: Direction, codes: InversionCode, labels: list[float | None]) -> tuple[float, float, int]:
    """The share of labelled codes on their side of the hyperplane, its mean over both sides, and how many there are."""
    threshold = float(direction.metadata.get("median", 0.5))
    pairs = zip((direction.distance(codes) > 0).tolist(), labels, strict=True)
    sides = [(side, label > threshold) for side, label in pairs if label is not None]
    hits = {end: [side == end for side, label in sides if label == end] for end in (False, True)}
    balanced = [sum(these) / len(these) for these in hits.values() if these]
    return sum(side == label for side, label in sides) / len(sides), sum(balanced) / len(balanced), len(sides)


def main(args: list[str] | None = None) -> None:
    """Parse the command line, fit, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("labels", type=Path, metavar="LABELS_CSV")
    parser.add_argument("--also", type=Path, nargs=2, action="append", default=[], metavar=("DIR", "CSV"))
    parser.add_argument("--columns", nargs="+", choices=LABELS, default=["gender", "birth_year"])
    parser.add_argument("--seen", type=Path, metavar="CSV", help="labels that somebody saw, instead of the tables'")
    parser.add_argument("--least", type=float, default=0.0, help="balanced accuracy of a direction that is kept")
    parser.add_argument("--encoder", default="congress64", help="checkpoint of the encoder (default: the bundled one)")
    parser.add_argument("--generator", default="congress64", help="that it was trained for (default: the bundled one)")
    parser.add_argument("--output", type=Path, default=ASSETS / "congress64-directions.safetensors")
    options = parser.parse_args(args)

    rows = read_rows(options.labels, options.data)
    others = [row for folder, table in options.also for row in read_rows(table, folder)]
    if options.seen is not None:
        with options.seen.open(newline="", encoding="utf-8") as file:
            seen = {row.pop("name"): row for row in csv.DictReader(file)}
        unseen = dict.fromkeys(next(iter(seen.values())), "")
        for row in (*rows, *others):
            row |= seen.get(Path(row["file"]).stem, unseen)
    train, test = divide(rows, others)
    if not test:
        parser.error(f"{options.labels} names nobody under test/ who is not fitted to: there is nobody to test on.")
    encoder, generator = load_encoder(options.encoder), load_generator(options.generator)
    train_codes, test_codes = (encode(encoder, [Path(row["path"]) for row in part]) for part in (train, test))
    labelled = [row for row in train if any(read_label(row, column) is not None for column in IN_FEATURES)]
    mirrored = encode(encoder, [Path(row["path"]) for row in labelled], mirrored=True) if labelled else train_codes[:0]

    directions = []
    for column in options.columns:
        both = column in IN_FEATURES
        fitted = [*train, *labelled] if both else train
        try:
            direction = linear(
                InversionCode.cat([train_codes, mirrored]) if both else train_codes,
                [read_label(row, column) for row in fitted],
                name=column,
                groups=[row.get("person") or row["path"] for row in fitted],
                confounder=[row.get("kind", "") for row in fitted],
                plane="features" if column in IN_FEATURES and train_codes.features else "latents",
                fingerprint=fingerprint(generator),
            )
        except ConfigError as error:
            print(f"{column}: left out: {error}")
            continue
        accuracy, balanced, count = test_accuracy(direction, test_codes, [read_label(row, column) for row in test])
        negative, positive = ENDS.get(column) or LABELS[column] or ("lower", "higher")
        facts: dict[str, str | float] = {"negative": negative, "positive": positive, "test_accuracy": accuracy}
        facts |= {"test_balanced_accuracy": balanced, "test_images": count, "encoder": fingerprint(encoder)}
        direction = replace(direction, metadata={**direction.metadata, **facts})
        held_out = min(float(direction.metadata["balanced_accuracy"]), balanced)
        dropped = f"dropped, {held_out:.3f} is less than {options.least:g}: " if held_out < options.least else ""
        directions += [] if dropped else [direction]
        print(f"{column}: {dropped}{', '.join(f'{key} {value}' for key, value in direction.metadata.items())}")
    if not directions:
        raise SystemExit("No direction is good enough: nothing is written.")
    directions += found_directions(generator) if options.generator == "congress64" else []
    print(f"{save_directions(directions, options.output)}: {options.output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
