"""Choose the bundled portraits and write them, with their provenance, to `src/padinv/assets/congress64-*.zip`.

    python tools/bundle_portraits.py SOURCE_DIR [--output FOLDER] [--seed N]

SOURCE_DIR holds `labels.csv` (file, person, gender, birth_year, kind) and the pictures it names, 128x128 aligned faces
under `train/` and `test/`. The same arguments give the same bytes (with the same Pillow and zlib).
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import zipfile
from pathlib import Path

from PIL import Image

RESOLUTION = 64
CHOICE = {  # zip file: the folder it is chosen from, and how many of each kind
    "congress64-val.zip": ("test", {"color": 24, "gray": 8}),
    "congress64-train.zip": ("train", {"color": 96, "gray": 32}),
}
PROVENANCE = {
    "color": ("https://github.com/CivilServiceUSA/us-house", "MIT"),
    "gray": ("Congressional Pictorial Directory, by https://github.com/Reform-to/congress-photos", "public domain"),
}
Row = dict[str, str]


def choose(rows: list[Row], count: int, rng: random.Random) -> list[Row]:
    """`count` rows, as many women as men as far as the labels allow; of a person at most one."""
    groups: dict[str, list[Row]] = {"female": [], "male": [], "": []}
    persons: set[str] = set()
    for row in rng.sample(rows, len(rows)):
        if row["person"] not in persons:
            persons.add(row["person"])
            groups[row["gender"]].append(row)
    women = min(count // 2, len(groups["female"]))
    men = min(count - women, len(groups["male"]))
    women = min(count - men, len(groups["female"]))
    chosen = groups["female"][:women] + groups["male"][:men] + groups[""][: count - women - men]
    if len(chosen) < count:
        raise SystemExit(f"{count} pictures are wanted and only {len(chosen)} persons have one")
    return chosen


def encode(path: Path) -> bytes:
    """The picture as a PNG of half the size."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize((RESOLUTION, RESOLUTION), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return file.getvalue()


def provenance(rows: list[Row]) -> bytes:
    """A table of where each picture comes from and under which licence."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "person", "gender", "birth_year", "kind", "source", "licence"])
    for row in rows:
        person = (row["person"], row["gender"], row["birth_year"], row["kind"])
        table.writerow([Path(row["file"]).name, *person, *PROVENANCE[row["kind"]]])
    return text.getvalue().encode()


def write(path: Path, members: dict[str, bytes]) -> None:
    """A zip file without compression (PNG is compressed) and without the time of writing."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(name)  # dated 1980-01-01
            member.create_system = 3
            member.external_attr = 0o644 << 16
            archive.writestr(member, data)


def main(args: list[str] | None = None) -> None:
    """Parse the command line and write both zip files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE_DIR")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "src" / "padinv" / "assets")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(args)

    with (options.source / "labels.csv").open(newline="") as file:
        labels = list(csv.DictReader(file))
    rng = random.Random(options.seed)
    taken: set[str] = set()  # nobody is in both files, nor twice in one
    for name, (folder, kinds) in CHOICE.items():
        rows: list[Row] = []
        for kind, count in kinds.items():
            free = [r for r in labels if r["kind"] == kind and r["person"] not in taken]
            rows += choose([r for r in free if r["file"].startswith(f"{folder}/")], count, rng)
            taken |= {row["person"] for row in rows}
        rows.sort(key=lambda row: row["file"])
        members = {Path(row["file"]).name: encode(options.source / row["file"]) for row in rows}
        write(options.output / name, {"provenance.csv": provenance(rows), **members})
        print(f"{options.output / name}: {len(rows)} pictures")


if __name__ == "__main__":
    main()
