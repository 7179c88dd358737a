"""Labels aligned faces by what five points and the luminance tell: pose, smile, light, background, grey or colour.

python examples/label_faces.py portraits/ -o labels.csv
padinv directions portraits/ --find linear --labels labels.csv --column smile -o smile

A label is given to the third of the faces at either end; between them it stays blank. Left and right are the picture's.
Faces are found by MTCNN: pip install "padinv[faces]".
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch
from torch import Tensor

from padinv.images import decode, to_tensor
from padinv.inversion import MtcnnDetector, face_square, warp

SUFFIXES = {".png", ".jpg", ".jpeg"}
SIDE = 128
LUMA = torch.tensor([0.299, 0.587, 0.114])
WORDS = {  # column: the words for the lowest and the highest third
    "pose": ("left", "right"),
    "smile": ("serious", "smiling"),
    "light": ("left", "right"),
    "background": ("dark", "light"),
}
GREY = 0.02
"""Mean difference of the colours, in [0, 1], below which a picture is grey."""


def measure(face: Tensor, points: Tensor) -> dict[str, float]:
    """Measures an aligned face (3, 128, 128) in [-1, 1] with its five points: a number for each column of words.

    - pose: how far the nose lies to the right of the middle of eyes and mouth, in distances between the eyes.
    - smile: width of the mouth, in distances between the eyes, and how much lighter than the face its lightest part is:
      teeth. Both vary by 0.07 from face to face.
    - light: how much lighter the right half of the face is than the left, in their mean.
    - background: the luminance of the upper corners.
    """
    left_eye, right_eye, nose, left_mouth, right_mouth = points
    across = right_eye - left_eye
    middle = (left_eye + right_eye + left_mouth + right_mouth) / 4
    luminance = (face * 0.5 + 0.5).permute(1, 2, 0) @ LUMA
    # The cheeks: between the eyes and the mouth, from the nose to a little beyond the eyes.
    top, bottom = round(float(points[:2, 1].mean())), round(float(points[3:, 1].mean()))
    start, centre, end = (round(float(x)) for x in (left_eye[0] - 4, middle[0], right_eye[0] + 4))
    left, right = luminance[top:bottom, start:centre].mean(), luminance[top:bottom, centre:end].mean()
    reach = 0.2 * float(across.norm())
    mouth_left, mouth_right = sorted(round(float(x)) for x in (left_mouth[0], right_mouth[0]))
    mouth_top, mouth_bottom = (round(float(points[3:, 1].mean()) + shift) for shift in (-0.8 * reach, reach))
    mouth = luminance[max(0, mouth_top) : max(1, mouth_bottom), max(0, mouth_left) : max(1, mouth_right)]
    skin = luminance[round(float(nose[1])) - 4 : round(float(nose[1])) + 6, start:end].mean()
    teeth = torch.quantile(mouth, 0.9) - skin if mouth.numel() else torch.tensor(torch.nan)
    corner = SIDE // 8
    return {
        "pose": float((nose - middle) @ across / (across @ across)),
        "smile": float((right_mouth - left_mouth).norm() / across.norm() + teeth),
        "light": float((right - left) / (right + left).clamp_min(0.02)),
        "background": float((luminance[:corner, :corner].mean() + luminance[:corner, -corner:].mean()) / 2),
    }


def is_grey(face: Tensor) -> bool:
    return float((face.amax(dim=0) - face.amin(dim=0)).mean() / 2) < GREY


def thirds(values: list[float], low: str, high: str) -> list[str]:
    """A word for each number in the lowest and in the highest third, "" for the others and for NaN.

    >>> thirds([3.0, 1.0, 2.0, float("nan")], "low", "high")
    ['high', 'low', '', '']
    """
    known = torch.tensor(values)[~torch.tensor(values).isnan()]
    if not len(known):
        return [""] * len(values)
    first, second = torch.quantile(known, torch.tensor([1 / 3, 2 / 3])).tolist()
    return [low if value <= first else high if value >= second else "" for value in values]


def label(folder: Path, known: Path | None, output: Path) -> None:
    """Writes a table of the labels of all pictures below a folder, beside the columns that a table already has."""
    rows: dict[str, dict[str, str]] = {}
    if known is not None:
        with known.open(newline="", encoding="utf-8") as file:
            rows = {row["file"]: row for row in csv.DictReader(file)}
    detector = MtcnnDetector(smallest=24, look_again=False)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    names = [path.relative_to(folder).as_posix() for path in paths]
    if known is not None:
        names = [name for name in names if name in rows]
    if not names:
        raise SystemExit(f"{folder} has no picture" + (f" that the column 'file' of {known} names." if known else "."))
    numbers: list[dict[str, float]] = []
    for name in names:
        photograph = to_tensor(decode((folder / name).read_bytes()))
        height, width = photograph.shape[1:]
        square = torch.nn.functional.interpolate(photograph[None], size=SIDE, mode="bilinear", antialias=True)[0]
        if height != width:  # not aligned yet
            found = detector(photograph)
            square = warp(photograph, face_square(found[0], (width, height)), SIDE) if len(found) else square
        points = detector(square)
        numbers.append(measure(square, points[0]) if len(points) else dict.fromkeys(WORDS, float("nan")))
        rows[name] = {**rows.get(name, {}), "file": name, "kind": "gray" if is_grey(square) else "color"}
        if len(numbers) % 200 == 0:
            print(f"{len(numbers)} of {len(names)}", flush=True)
    for column, (low, high) in WORDS.items():
        values = [number[column] for number in numbers]
        for name, value, word in zip(names, values, thirds(values, low, high), strict=True):
            rows[name] |= {column: word, f"{column}_measured": "" if value != value else f"{value:.4f}"}
    header = dict.fromkeys(key for row in rows.values() for key in row)
    with output.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, header, restval="")
        table.writeheader()
        table.writerows(rows.values())
    print(f"{output}: {len(names)} pictures, {sum(number['pose'] == number['pose'] for number in numbers)} with a face")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of pictures, aligned to the face")
    parser.add_argument("--labels", type=Path, help="a table with a column 'file', to which columns are added")
    parser.add_argument("-o", "--output", type=Path, default=Path("labels.csv"))
    options = parser.parse_args()
    label(options.folder, options.labels, options.output)
