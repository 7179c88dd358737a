"""Draws docs/figures/edits.png: bundled portraits, edited by the commands that docs/editing.md lists.

    python docs/figures/draw_edits.py

It takes a few minutes on a CPU. What the commands write stays in runs/edits, made anew each time.
"""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from padinv import ImageDataModule
from padinv.cli import main

RUNS = Path("runs/edits")
TILE, GAP, HEAD, INK, SOFT = 112, 4, 32, "#222222", "#777777"
STEPS = [("smile", -2.5), ("smile", 2.5), ("glasses", 3), ("light", -3)]
"""Directions and strengths: chosen by eye for the bundled model."""
RESULTS = ("reconstruction", "blend", "mixed", "transferred")

EDITED = ["color-A000378", "color-G000594", "color-J000305", "gray-I000024"]
BLENDED = [("color-J000305", "color-S001192"), ("color-A000378", "gray-B001243")]
MIXED = [("gray-B001243", "color-A000378"), ("color-S001192", "color-J000305")]
TRANSFERRED, TARGETS = "color-B001291", ["color-R000588", "color-N000188"]

Cell = tuple[Image.Image, str]


def padinv(*words: object) -> None:
    """Runs a command."""
    print("padinv", *words)
    if main([*map(str, words)]):
        raise SystemExit(1)


def code(name: str, folder: str = "portraits") -> Path:
    """The saved code of a portrait."""
    return RUNS / folder / "codes" / f"{name}.safetensors"


def result(folder: str, name: str) -> Image.Image:
    """What a command made of a portrait."""
    with Image.open(RUNS / folder / "images" / f"{name}.png") as image:
        return shrunk(image.convert("RGB"))


def directions(portraits: dict[str, Tensor]) -> list[list[Cell]]:
    """A row for each portrait: photograph, reconstruction, and steps along directions."""
    for name, strength in STEPS:
        codes = [code(person) for person in EDITED]
        padinv("edit", *codes, "--direction", name, "--strength", strength, "-o", RUNS / f"{name}{strength}")
    return [
        [(picture(portraits[person]), "photograph"), (result("portraits", person), "reconstruction")]
        + [(result(f"{name}{strength}", person), f"{name} {strength:+}") for name, strength in STEPS]
        for person in EDITED
    ]


def blends(
    portraits: dict[str, Tensor], pairs: list[tuple[str, str]], captions: tuple[str, str, str], *options: str
) -> list[Cell]:
    """For each pair the two portraits, and what ``padinv blend`` makes of them."""
    cells = []
    for first, second in pairs:
        output = f"{captions[-1]}-{first}"
        padinv("blend", code(first), code(second), *options, "-o", RUNS / output)
        pictures = (picture(portraits[first]), picture(portraits[second]), result(output, second))
        cells += list(zip(pictures, captions, strict=True))
    return cells


def transferred(portraits: dict[str, Tensor]) -> list[Cell]:
    """A pair of pictures, serious and smiling, and what was done between them done to others."""
    padinv("edit", code(TRANSFERRED), "--direction", "smile", "--strength", 2, "-o", RUNS / "pair")
    before, after = (RUNS / folder / "images" / f"{TRANSFERRED}.png" for folder in ("portraits", "pair"))
    padinv("transfer", before, after, *map(code, TARGETS), "-o", RUNS / "transferred")
    cells = [(result("portraits", TRANSFERRED), "before"), (result("pair", TRANSFERRED), "after")]
    for target in TARGETS:
        cells += [(picture(portraits[target]), "target"), (result("transferred", target), "transferred")]
    return cells


def picture(portrait: Tensor) -> Image.Image:
    """A portrait (3, H, W) in [0, 1] as a tile."""
    return shrunk(to_pil_image(portrait))


def shrunk(picture: Image.Image) -> Image.Image:
    """A picture at the size of all."""
    return picture.resize((TILE, TILE), Image.Resampling.BICUBIC)


def sheet(rows: list[list[Cell]]) -> Image.Image:
    """Lays cells out, with a caption above a cell where it is not that of the row before."""
    columns = len(rows[0])
    heads = [i == 0 or [c for _, c in row] != [c for _, c in rows[i - 1]] for i, row in enumerate(rows)]
    size = (columns * (TILE + GAP) + GAP, len(rows) * (TILE + GAP) + sum(heads) * HEAD + GAP)
    image = Image.new("RGB", size, "white")
    draw, font, top = ImageDraw.Draw(image), ImageFont.load_default(15), GAP
    for row, head in zip(rows, heads, strict=True):
        top += HEAD * head
        for column, (tile, caption) in enumerate(row):
            left = GAP + column * (TILE + GAP)
            image.paste(tile, (left, top))
            if head:
                colour = INK if caption in RESULTS or caption[-1].isdigit() else SOFT
                draw.text((left + TILE / 2, top - HEAD / 2 + 2), caption, fill=colour, font=font, anchor="mm")
        top += TILE + GAP
    return image


if __name__ == "__main__":
    rmtree(RUNS, ignore_errors=True)
    data = ImageDataModule(val="congress64-val", resolution=64, batch_size=32, num_workers=0)
    batch = next(iter(data.val_dataloader()))
    portraits = {Path(name).stem: image / 2 + 0.5 for name, image in zip(batch["name"], batch["image"], strict=True)}
    padinv("invert", "congress64-val", "-o", RUNS / "portraits")
    rows = directions(portraits)
    rows.append(blends(portraits, BLENDED, ("contour", "details", "blend"), "--face"))
    rows.append(blends(portraits, MIXED, ("coarse", "fine", "mixed"), "--layers", "5-"))
    rows.append(transferred(portraits))
    path = Path(__file__).with_name("edits.png")
    sheet(rows).save(path, optimize=True)
    print(path)
