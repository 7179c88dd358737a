"""Writes the tables of the documentation, docs/tables/*.md: python tools/write_tables.py [NAME …], or nox -s tables.

Without a name it writes all but "spaces", which trains three encoders first: nox -s tables -- spaces.

Everything in them comes with padinv: photographs, labels and weights, whose hashes stand below each table.
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from padinv import InversionCode, Inverter
from padinv.comparison import read_comparison
from padinv.editing import load_directions
from padinv.evaluation import PROTOCOLS, Evaluation, Inverted, Number, Sampling, Settings, evaluate
from padinv.evaluation.editability import edit_curves
from padinv.evaluation.results import interval_of, shown, versions
from padinv.sources import bundled_path, open_source

HERE = Path(__file__).parents[1] / "docs" / "tables"
MODEL = "congress64"
SAMPLING = Sampling()


class LatentsAlone(Inverter):
    """The same encoder, of whose codes only the latents are used: the generator's own constant, and zero padding."""

    def _encode_all(self, images: torch.Tensor) -> InversionCode:
        return InversionCode(super()._encode_all(images).w_plus)


@cache
def inverter(latents_alone: bool = False) -> Inverter:
    """The bundled model, loaded once."""
    kind = LatentsAlone if latents_alone else Inverter
    return kind.from_pretrained(MODEL, device="cpu", keep_memory=False)


@cache
def measured(protocol: str, data: str = "congress64-val", latents_alone: bool = False) -> Evaluation:
    """The bundled model under a protocol, measured once."""
    only = ["mse", "psnr", "ms_ssim", "lpips", "fd"]
    subject = Inverted(open_source(data), inverter(latents_alone), MODEL)
    settings = Settings(PROTOCOLS[protocol], sampling=SAMPLING, groups=True, measures={"only": only})
    return evaluate(subject, settings)[0][0]


def cell(number: Number) -> str:
    """A number and its interval."""
    return f"{shown(number.value)} ({interval_of(number)})"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def bundled() -> str:
    """What padinv evaluate --model congress64 --data congress64-val prints, under the default protocol."""
    result = measured("default")
    rows = [[f"`{name}`", shown(number.value), interval_of(number)] for name, number in result.metrics.items()]
    return table(["metric", "value", "95 % interval"], rows)


def protocols() -> str:
    """The same pictures under each protocol."""
    results = {name: measured(name) for name in PROTOCOLS}
    names = list(results["default"].metrics)
    rows = [[f"`{name}`", *(cell(results[name].metrics[metric]) for metric in names)] for name in results]
    return table(["protocol", *(f"`{name}`" for name in names)], rows)


def groups() -> str:
    """By skin tone, and by grey and colour, on all bundled portraits of people not in the training set."""
    result = measured("default")
    rows = []
    for division, found in result.by_group.items():
        for group, numbers in found.items():
            count = result.groups[division].count(group)
            rows.append([f"{division}: {group}", str(count or ""), *(cell(number) for number in numbers.values())])
    return table(["group", "images", *(f"`{name}`" for name in result.values)], rows)


def editing() -> str:
    """The code against its latents alone, on the labelled bundled portraits."""
    data = "congress64-train"
    direction = load_directions(MODEL)["gender"]
    subject = Inverted(open_source(data), inverter(), MODEL)
    labels = [float(row["gender"] == "female") if row["gender"] else None for row in portraits(data)[1]]
    curves = edit_curves(subject, direction, labels, None, replace(SAMPLING))
    rows = []
    for space, alone in (("code", False), ("latents", True)):
        curve, fidelity = curves[space], measured("default", data, alone)
        numbers = [*(fidelity.metrics[name] for name in ("mse", "lpips")), curve.consistency, curve.area]
        whole = {"code": "latents, padding and features", "latents": "the same latents alone"}[space]
        rows.append([whole, *map(cell, numbers), shown(curve.reach), cell(curve.set_distance)])
    head = ["", "`mse`", "`lpips`", "LEC", "likeness at equal change", "up to a change of", "editing `fd_alexnet`"]
    return table(head, rows)


SPACES = HERE.parents[1] / "runs" / "spaces"
"""Where the encoders of the table of spaces are trained, unless they are there."""


def portraits(data: str) -> tuple[list[bytes], list[dict[str, str]]]:
    """The files of a bundled data set, and for each its row in provenance.csv, which has the labels."""
    with zipfile.ZipFile(bundled_path(data)) as archive:
        rows = csv.DictReader(io.StringIO(archive.read("provenance.csv").decode()))
        known = {row["file"]: row for row in rows}
    source = open_source(data)
    found = [known[Path(source.name(index)).name] for index in range(len(source))]
    return [source.read(index) for index in range(len(source))], found


def spaces() -> str:
    """W+ alone, padding, features: an encoder trained for each, by tools/spaces.yaml; minutes of a core each."""
    from compare_designs import Design, Portraits, compare  # beside this file

    rows = Path(__file__).with_name("spaces.yaml")
    command = [sys.executable, "-m", "padinv", "compare", str(rows), "-o", str(SPACES), "--seeds", "1"]
    subprocess.run([*command, "--device", "cpu"], check=True)
    fitted, tested = (Portraits.of(*portraits(f"{MODEL}-{part}"), 64) for part in ("train", "val"))
    designs = {}
    for row in read_comparison(str(rows)).rows:
        (checkpoint,) = (SPACES / "runs" / row.name / "seed-0").glob("*/checkpoints/last.ckpt")
        trained = Inverter.from_pretrained(str(checkpoint), MODEL, device="cpu", keep_memory=False)
        designs[row.title] = Design(trained, fitted)
    return compare(designs, fitted, tested, ["gender"], None)


TABLES: dict[str, Callable[[], str]] = {
    "bundled": bundled,
    "protocols": protocols,
    "groups": groups,
    "editing": editing,
    "spaces": spaces,
}

LONG = ("spaces",)
"""Tables that take more than minutes: they are written if they are named."""


def hashes() -> dict[str, str]:
    """The first 12 digits of the SHA-256 of what the tables are made of."""
    assets = Path(str(files("padinv") / "assets"))
    named = sorted(path for path in assets.iterdir() if path.name.startswith((MODEL, "alexnet")))
    return {path.name: sha256(path.read_bytes()).hexdigest()[:12] for path in named}


def footer(command: str = "nox -s tables") -> str:
    """What wrote a table, seeds, versions and hashes."""
    made = ", ".join(f"{name} {number}" for name, number in versions().items())
    content = ", ".join(f"`{name}` {digest}" for name, digest in hashes().items())
    drawn = f"seed {SAMPLING.seed}, {SAMPLING.resamples:,} resamples"
    return f"<small>`{command}`; {drawn}; {made}; SHA-256 of {content}.</small>"


def main(names: list[str], folder: Path = HERE) -> dict[str, Any]:
    """Writes the tables of these names, all but the long ones if there are none, and returns them."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for name in names or [name for name in TABLES if name not in LONG]:
        written[name] = f"{TABLES[name]()}\n\n{footer()}\n"
        (folder / f"{name}.md").write_text(written[name], encoding="utf-8")
        print(written[name])
    return written


if __name__ == "__main__":
    main(sys.argv[1:])
