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
from padinv.commands.evaluate import make_folder
from padinv.comparison import read_comparison
from padinv.editing import blend, load_directions, mix
from padinv.evaluation import PROTOCOLS, Evaluation, Inverted, Number, Sampling, Settings, evaluate
from padinv.evaluation.editability import area_at_equal_change, blend_distances, edit_curve, edit_curves, to_encoder
from padinv.evaluation.measuring import perceptual_measure
from padinv.evaluation.results import interval_of, mean_of, shown, versions
from padinv.metrics.per_image import mean_square
from padinv.sources import bundled_path, open_source

HERE = Path(__file__).parents[1] / "docs" / "tables"
MODEL = "congress64"
SAMPLING = Sampling()


class LatentsAlone(Inverter):
    """The same encoder, of whose codes only the latents are used: the generator's own constant, and zero padding."""

    def _encode_all(self, images: torch.Tensor) -> InversionCode:
        return InversionCode(super()._encode_all(images).w_plus)


@cache
def inverter(kind: type[Inverter] = Inverter) -> Inverter:
    """The bundled model, loaded once."""
    return kind.from_pretrained(MODEL, device="cpu", keep_memory=False)


@cache
def measured(protocol: str, data: str = "congress64-val", kind: type[Inverter] = Inverter) -> Evaluation:
    """The bundled model under a protocol, measured once."""
    only = ["mse", "psnr", "ms_ssim", "lpips", "fd"]
    subject = Inverted(open_source(data), inverter(kind), MODEL)
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
    _, labels = labels_of(data, str(direction.metadata["positive"]))
    curves = edit_curves(subject, direction, labels, None, replace(SAMPLING))
    rows = []
    for space, kind in (("code", Inverter), ("latents", LatentsAlone)):
        curve, fidelity = curves[space], measured("default", data, kind)
        numbers = [*(fidelity.metrics[name] for name in ("mse", "lpips")), curve.consistency, curve.area]
        whole = {"code": "latents, padding and features", "latents": "the same latents alone"}[space]
        rows.append([whole, *map(cell, numbers), shown(curve.reach), cell(curve.set_distance)])
    head = ["", "`mse`", "`lpips`", "LEC", "likeness at equal change", "up to a change of", "editing `fd_alexnet`"]
    return table(head, rows)


SPACES = HERE.parents[1] / "runs" / "spaces"
"""Where the encoders of the table of spaces are trained, unless they are there."""


def labels_of(data: str, positive: str) -> tuple[list[str], list[float | None]]:
    """The names of the portraits of a bundled data set, and 1 for those of the attribute, 0 for others."""
    with zipfile.ZipFile(bundled_path(data)) as archive:
        rows = csv.DictReader(io.StringIO(archive.read("provenance.csv").decode()))
        known = {row["file"]: row["gender"] for row in rows}
    source = open_source(data)
    names = [Path(source.name(index)).name for index in range(len(source))]
    return names, [float(known[name] == positive) if known[name] else None for name in names]


def spaces() -> str:
    """W+ alone, padding, features: an encoder trained for each, by tools/spaces.yaml; ten minutes of a core each."""
    rows = Path(__file__).with_name("spaces.yaml")
    command = [sys.executable, "-m", "padinv", "compare", str(rows), "-o", str(SPACES), "--seeds", "1"]
    subprocess.run([*command, "--device", "cpu"], check=True)
    titles = {row.name: row.title for row in read_comparison(str(rows)).rows}
    return compared_spaces(titles, SPACES, "congress64-val", labels_of)


def compared_spaces(
    titles: dict[str, str],
    folder: Path,
    data: str,
    labelled: Callable[[str, str], tuple[list[str], list[float | None]]],
    generator: str = MODEL,
    directions: str = MODEL,
) -> str:
    """The rows of a comparison that padinv compare has trained, on portraits of people not in its training set.

    Args:
        titles: name of a row → what the table calls it.
        folder: of the comparison.
        data: portraits.
        labelled: their names, and whether they have an attribute, by the attribute's positive word.
        generator: that the encoders were trained for.
        directions: with that of the attribute, "gender".
    """
    direction = load_directions(directions)["gender"]
    lpips = perceptual_measure("alex", None, torch.device("cpu"))
    _, labels = labelled(data, str(direction.metadata["positive"]))
    found = {}
    for name in titles:
        (checkpoint,) = (folder / "runs" / name / "seed-0").glob("*/checkpoints/last.ckpt")
        inverter = Inverter.from_pretrained(checkpoint, generator, device="cpu", keep_memory=False)
        inversion = inverter.invert(data)
        assert inversion.targets is not None  # photographs have them
        targets = inversion.targets
        code, made = inversion.code, to_encoder(inverter, inversion.images)
        others = torch.arange(len(targets)).roll(1)  # the details of each are the next one's
        contour, details = code, code[others]
        mixed = mix(contour, details, "4-") if code.padding is None else blend(contour, details)
        blended = to_encoder(inverter, inverter.reconstruct(mixed))
        kept = torch.tensor([row for row, label in enumerate(labels) if label is not None])
        known = [label for label in labels if label is not None]
        curve = edit_curve(
            inverter, code[kept], targets[kept], direction, known, lambda a, b: 1 - lpips(a, b), SAMPLING
        )
        with torch.inference_mode():
            each = {"mse": mean_square(made, targets), "lpips": lpips(made, targets)}
        each |= blend_distances(blended, targets, targets[others])
        means = {key: mean_of(value.double().numpy(), SAMPLING) for key, value in each.items()}
        found[name] = (means, curve, sum(tensor[0].numel() for tensor in code.tensors()))
    common = min(curve.reach for _, curve, _ in found.values())
    table_rows = []
    for name, (means, curve, numbers) in found.items():
        area, _ = area_at_equal_change(curve.moved, curve.alike, SAMPLING, common)
        told = [means["mse"], means["lpips"], curve.consistency, area, means["layout"], means["appearance"]]
        table_rows.append([titles[name], f"{numbers:,}", *map(cell, told)])
    head = ["", "numbers", "`mse`", "`lpips`", "LEC", "likeness at equal change", "blend: layout", "blend: appearance"]
    return f"{table(head, table_rows)}\n\nLikeness up to a change of {shown(common)}; {len(targets)} portraits."


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


def footer() -> str:
    """Seeds, versions and hashes."""
    made = ", ".join(f"{name} {number}" for name, number in versions().items())
    content = ", ".join(f"`{name}` {digest}" for name, digest in hashes().items())
    drawn = f"seed {SAMPLING.seed}, {SAMPLING.resamples:,} resamples"
    return f"<small>`nox -s tables`; {drawn}; {made}; SHA-256 of {content}.</small>"


def main(names: list[str], folder: Path = HERE) -> dict[str, Any]:
    """Writes the tables of these names, all but the long ones if there are none, and returns them."""
    make_folder(folder)
    written = {}
    for name in names or [name for name in TABLES if name not in LONG]:
        written[name] = f"{TABLES[name]()}\n\n{footer()}\n"
        (folder / f"{name}.md").write_text(written[name], encoding="utf-8")
        print(written[name])
    return written


if __name__ == "__main__":
    main(sys.argv[1:])
