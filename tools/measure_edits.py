"""Measure blends, and transfers of real pairs, by a face recognition network: docs/tables/blends.md and transfers.md.

    python tools/measure_edits.py IDENTITY DATA_DIR [--also DIR]… [--faces FILE]

IDENTITY is a recognition network (.onnx) that was in no training. DATA_DIR holds portraits in `train/`, among which
pairs of one person are found, and in `test/`, to which transfers go; --also names folders with more of the former.

Blends are those of each bundled portrait with the five after it. "Error" is the mean square error around the face.

A pair is two photographs whose likeness is LEAST or more. Those that differ most along a bundled direction come first,
each photograph once, and the direction says which of them is before. Targets are the twelve portraits of `test/` that
lie furthest back. "Change" is how much further along the results lie, encoded again. --faces draws all of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from write_tables import HERE, MODEL, footer, inverter, table

from padinv import InversionCode
from padinv.editing import Direction, blend, face_mask, load_directions, transfer
from padinv.images import load_tensor
from padinv.losses import IdentityLoss
from padinv.pictures import contact_sheet, save_picture
from padinv.sources import open_source

LEAST = 0.45
"""Likeness of two photographs of one person."""
COUNTS = (1, 4, 16, 64)
"""Pairs of which the mean is taken."""
TARGETS = 12
DIRECTIONS = ("smile", "light")
STRENGTH = 3.0
"""Of the bundled direction, beside the pairs."""

Embed = Callable[[Tensor], Tensor]


@torch.inference_mode()
def blends(embed: Embed) -> str:
    """Likeness to both people, and error around the face to both photographs."""
    images = read([f"{MODEL}-val"])
    first = torch.arange(len(images)).repeat(5)
    second = torch.cat([torch.arange(len(images)).roll(-step) for step in range(1, 6)])
    codes = {0: inverter().encode(images), 100: inverter().invert(images, refine=100).code}
    known, mask = embed(images), face_mask(images.shape[-1])
    around = (mask < 0.05).float()

    def error(made: Tensor, places: Tensor) -> float:
        return float(((made - images[places]).square().mean(1) * around).sum() / around.sum() / len(made))

    ways: list[tuple[str, int, dict[str, Any]]] = [
        ("as published", 0, {}),
        ("`--features 16`", 0, {"features": [16]}),
        ("`--face`", 0, {"mask": mask}),
        ("`--face --refine 100`", 100, {"mask": mask}),
    ]
    rows = []
    for title, refined, options in ways:
        code = codes[refined]
        made = reconstruct(blend(code[first], code[second], **options))
        like = [likeness(embed(made), known[places]) for places in (first, second)]
        errors = [error(made, places) for places in (first, second)]
        rows.append([title, *(f"{value:.2f}" for value in like), *(f"{value:.3f}" for value in errors)])
    strangers = likeness(known[first], known[second])
    alone = [likeness(embed(reconstruct(code)), known) for code in codes.values()]
    head = [f"`{MODEL}`", "like the contour", "like the details", "error to the contour", "to the details"]
    about = "{} blends. Reconstructions are {:.2f} like the person, refined {:.2f}; strangers {:.2f}."
    return f"{table(head, rows)}\n\n{about.format(len(first), *alone, strangers)}"


def likeness(one: Tensor, other: Tensor) -> float:
    """The mean cosine of embeddings (B, N)."""
    return float(F.cosine_similarity(one, other).mean())


def reconstruct(code: InversionCode) -> Tensor:
    """Pictures in [-1, 1]."""
    return inverter().reconstruct(code).clamp(-1, 1)


def find_pairs(vectors: Tensor, distances: Tensor) -> tuple[list[int], list[int]]:
    """The numbers of photographs before and after, of pairs of one person, those that differ most first."""
    one, other = (vectors @ vectors.T >= LEAST).triu(1).nonzero().unbind(1)
    order = (distances[one] - distances[other]).abs().argsort(descending=True)
    taken: set[int] = set()
    before, after = [], []
    for a, b in zip(one[order].tolist(), other[order].tolist(), strict=True):
        if not {a, b} & taken:
            taken |= {a, b}
            low, high = sorted((a, b), key=lambda place: float(distances[place]))
            before.append(low)
            after.append(high)
    return before, after


@torch.inference_mode()
def transfers(embed: Embed, portraits: Tensor, people: Tensor) -> tuple[str, dict[str, Tensor]]:
    """Change and likeness of what pairs do to other people, and pictures of it."""
    codes, targets = inverter().encode(portraits), inverter().encode(people)
    vectors, known = embed(portraits), embed(people)
    alone = likeness(embed(reconstruct(targets)), known)
    columns: list[list[list[str]]] = []
    pictures: dict[str, Tensor] = {}
    for name in DIRECTIONS:
        direction: Direction = load_directions(MODEL, inverter().generator)[name]
        lie = direction.distance(targets)
        chosen = lie.argsort()[:TARGETS]
        target = targets[chosen]
        before, after = find_pairs(vectors, direction.distance(codes))
        made = {
            ("one pair" if count == 1 else f"mean of {count}"): transfer(
                codes[before[:count]].mean(), codes[after[:count]].mean(), target
            )
            for count in COUNTS
        }
        made[f"the bundled direction at {STRENGTH:g}"] = direction.apply(target, STRENGTH)
        pictures |= {f"{name}: before": portraits[before[:TARGETS]], f"{name}: after": portraits[after[:TARGETS]]}
        pictures[f"{name}: target"] = people[chosen]
        column = []
        for title, code in made.items():
            images = pictures[f"{name}: {title}"] = reconstruct(code)
            change = float((direction.distance(inverter().encode(images)) - lie[chosen]).mean())
            column.append([f"{change:.1f}", f"{likeness(embed(images), known[chosen]):.2f}"])
        columns.append(column)
        titles = list(made)
    rows = [[title, *(cell for column in columns for cell in column[place])] for place, title in enumerate(titles)]
    head = [f"`{MODEL}`, strength 1", *(cell for name in DIRECTIONS for cell in (name, "identity"))]
    about = f"{TARGETS} people each; reconstructions of all {len(people)} have {alone:.2f}."
    return f"{table(head, rows)}\n\n{about}", pictures


def read(names: list[str]) -> Tensor:
    """All pictures of folders or bundled sets, (N, 3, R, R)."""
    source, side = open_source(names), inverter().resolution
    return torch.stack([load_tensor(source.read(place), side) for place in range(len(source))])


def main() -> None:
    """Reads the command line, measures, and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("identity", help="recognition network (.onnx)")
    parser.add_argument("data", metavar="DATA_DIR")
    parser.add_argument("--also", action="append", default=[], metavar="DIR")
    parser.add_argument("--faces", type=Path, help="file for pictures of the transfers")
    options = parser.parse_args()
    loss = IdentityLoss(options.identity)

    @torch.inference_mode()
    def embed(images: Tensor) -> Tensor:
        return torch.cat([loss.embed(part) for part in images.split(32)])

    moved, pictures = transfers(embed, read([f"{options.data}/train", *options.also]), read([f"{options.data}/test"]))
    for name, text in (("blends", blends(embed)), ("transfers", moved)):
        (HERE / f"{name}.md").write_text(f"{text}\n\n{footer('tools/measure_edits.py')}\n")
        print(text, end="\n\n")
    if options.faces is not None:
        save_picture(contact_sheet(list(pictures.values()), 96), options.faces)


if __name__ == "__main__":
    main()
