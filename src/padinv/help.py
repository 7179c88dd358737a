"""The short help of every command: it fits a screen, and is printed without torch and Lightning, which take seconds."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Collection
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

SCREEN = (80, 23)
"""Columns and lines of the smallest terminal, less the line of the prompt, which a short help fits."""


def short_help(parser: argparse.ArgumentParser, rare: Collection[str] = ()) -> str:
    """The help of a parser; if it is longer than a screen, a line for each option that is not rare.

    Args:
        parser: with the options.
        rare: names of options that only ``--help-all`` tells of, if there is no room for all.
    """
    columns, most = SCREEN
    whole = parser.format_help()
    if whole.count("\n") <= most:
        return whole
    shown = [each for each in parser._actions if each.dest not in rare and each.dest != argparse.SUPPRESS]
    shown.sort(key=lambda each: (bool(each.option_strings), each.dest == "json"))  # what has no name comes first
    named = [(_name(each), each) for each in shown]
    width = min(max(len(name) for name, _ in named), 30)
    places = [f"[{name}]" if each.nargs in ("?", "*") else name for name, each in named if not each.option_strings]
    needed = [name.split(", ")[0] for name, each in named if each.required and each.option_strings]
    lines = [f"{' '.join(['usage:', parser.prog, *places, *needed])} [--OPTION VALUE …]", ""]
    lines += [*textwrap.wrap(parser.description or "", columns), ""]
    for name, each in named:
        lines.append(f"  {name:<{width}}  {brief(each.help or '', columns - max(width, len(name)) - 4)}".rstrip())
    return "\n".join([*lines, f"  {'--help-all':<{width}}  every option", ""])


def _name(action: argparse.Action) -> str:
    """An option and what it takes, as short as it is clear."""
    if not action.option_strings:
        name = str(action.metavar or action.dest) if action.choices is None else "|".join(map(str, action.choices))
        return name + ("…" if action.nargs in ("+", "*") else "")
    if isinstance(action, argparse.BooleanOptionalAction):
        return action.option_strings[0].replace("--", "--[no-]")
    if action.nargs == 0:
        return action.option_strings[-1]
    flag = next((name for name in action.option_strings if len(name) == 2), action.option_strings[0])
    takes = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    takes = " ".join(takes) if isinstance(takes, tuple) else takes
    return f"{flag} {takes}" + ("…" if action.nargs == "+" else "")


def brief(text: str, room: int) -> str:
    """Shortens a help to a line: at the end of a clause, or else of a word, with dots.

    >>> brief("how much, one for each direction; negative for the contrary (default: 1)", 40)
    'how much, one for each direction'
    >>> brief("file, saved code (.pt, .npy), folder or zip file", 35)
    'file, saved code'
    """
    if len(text) <= room:
        return text
    bare = re.sub(r" \(default: [^()]*\)$", "", text)
    if len(bare) <= room:
        return bare
    flat = re.sub(r"\([^()]*\)", lambda found: "_" * len(found[0]), bare)  # nothing ends within brackets
    for mark, dots in (("; |: | _", ""), (", ", " …"), (" ", " …")):
        ends = [found.start() for found in re.finditer(mark, flat) if found.start() + len(dots) <= room]
        if ends and ends[-1] >= room // 4:
            return bare[: ends[-1]] + dots
    return bare[: room - 1] + "…"


def presets(folder: str = "presets") -> dict[str, Path]:
    """The configs in a folder of the package, by name.

    Those of ``padinv fit``: quickstart, and the published recipes ffhq, church and bedroom.
    """
    return {path.stem: path for path in sorted(Path(str(files("padinv") / folder)).glob("*.yaml"))}


class TrainingHelp:
    """The help of ``padinv fit``, ``validate`` and ``test``.

    Attributes:
        command: the command that starts a training, without ``padinv``.
        presets_folder: folder of the presets in the package.
        abouts: a line of help for each command.
        examples: command lines; the first one is a good start.
        common: the options that the help shows, each with a line.
        common_to_all: the options that the help of every training shows.
    """

    command: ClassVar[str] = "fit"
    presets_folder: ClassVar[str] = "presets"
    abouts: ClassVar[dict[str, str]] = {
        "fit": "Train an encoder that inverts a generator.",
        "validate": "Measure a run's encoder on its validation images.",
        "test": "Measure a run's encoder on its test images.",
    }
    examples: ClassVar[tuple[str, ...]] = (
        "padinv fit --config quickstart",
        "padinv fit --config ffhq --model.generator G.pth --data.train faces.zip",
        "padinv fit --config quickstart --ckpt_path last --schedule.images 6400",
        "padinv test --config quickstart --ckpt_path runs/quickstart/version_0",
    )
    common: ClassVar[dict[str, str]] = {
        "--data.train, .val, .test": "folder, zip file or LMDB; [a, b]",
        "--data.resolution, .batch_size": "pixels; images a device at once",
        "--model.generator, --model.discriminator": "bundled name, or checkpoint",
        "--model.lambda_pix, _per, _id, _adv, _reg": "weights of the losses",
        "--model.optimizer_e.lr": "learning rate of the encoder",
    }
    common_to_all: ClassVar[dict[str, str]] = {
        "--schedule.images, .validate_every": "the length; between validations",
        "--ckpt_path": "last, best, run's folder, file",
        "--trainer.devices, .precision": "such as 8, and bf16-mixed",
        "--trainer.logger": "CSVLogger, WandbLogger, false",
        "--checkpoint null, --pictures null, …": "switches a callback off",
        "--seed_everything": "seed of weights and order",
        "--json": "print JSON alone: metrics, files",
        "--model.help CLASS, --data.help CLASS": "the options of a class",
        "--print_config, --help-all": "every value, as YAML; every option",
    }

    @classmethod
    def program(cls, command: str) -> str:
        """The words that call a command."""
        return f"padinv {cls.command if command == 'fit' else command}".strip()

    @classmethod
    def summary(cls, command: str) -> str:
        """The short help of a command."""
        lines = [
            f"usage: {cls.program(command)} --config PRESET|FILE [--OPTION VALUE …]",
            f"{cls.abouts[command]} Options override the config.",
            f"Presets: {', '.join(presets(cls.presets_folder))}.",
            "",
            *(f"  {example}" for example in cls.examples),
            "",
            *(f"  {name:<42}{text}" for name, text in {**cls.common, **cls.common_to_all}.items()),
        ]
        return "\n".join([*lines, ""])


class GanHelp(TrainingHelp):
    """The help of ``padinv fit-gan``."""

    command = "fit-gan"
    presets_folder = "presets/gan"
    abouts: ClassVar = {**TrainingHelp.abouts, "fit": "Train a generator, and its discriminator."}
    examples: ClassVar = (
        "padinv fit-gan --config gan64",
        "padinv fit-gan --config gan256 --data.train photographs.zip",
        "padinv fit-gan --config gan64 --ckpt_path last",
    )
    common: ClassVar = {
        "--data.train, .val": "folder, zip file or LMDB; [a, b]",
        "--data.resolution, .batch_size": "pixels; images a device at once",
        "--model.generator, --model.discriminator": "what to start from",
        "--model.optimizer_g.lr, .optimizer_d.lr": "learning rates",
        "--model.augmentation null": "without augmentation",
        "--model.fid_samples": "samples for val/fid",
    }


def help_of(command: str) -> str | None:
    """The short help of a command of ``padinv``; None if it is not one that trains.

    >>> print(help_of("fit-gan").partition(" --config")[0])
    usage: padinv fit-gan
    """
    cls = GanHelp if command == GanHelp.command else TrainingHelp
    name = "fit" if command == cls.command else command
    return cls.summary(name) if name in cls.abouts else None
