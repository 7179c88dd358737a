"""The rows of a comparison: a YAML list of names, each with the options in which it differs from a config."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from padinv.exceptions import ConfigError, nearest
from padinv.files import local_path

OWN = (
    "seed_everything",
    "data.seed",
    "trainer.logger",
    "trainer.default_root_dir",
    "trainer.devices",
    "trainer.num_nodes",
)
"""Options that a comparison sets itself: each row × seed has its folder, its seed, and one device."""

SHARED = ("data.train", "data.val", "data.test", "data.val_fraction", "data.flip", "ckpt_path", "config")
"""Options that are for all rows or for none, since rows see the same images in the same order."""

NAME = re.compile(r"[\w][\w.+-]*")
"""Names of rows are names of folders, too."""


@dataclass(frozen=True)
class Row:
    """One encoder to train.

    Args:
        name: the name of its folder.
        title: what tables and pictures call it.
        options: dotted names of options of ``padinv fit``, and their values.
    """

    name: str
    title: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """The options as words of a command line."""
        return words_of(self.options)


@dataclass(frozen=True)
class Comparison:
    """What to compare.

    Args:
        source: where it was read from.
        config: the preset or file of ``padinv fit`` that all rows start from.
        options: those of all rows, which a row may override.
        rows: at least one.
        baseline: the name of the row that the others are compared with.
    """

    source: str
    config: str
    options: Mapping[str, Any]
    rows: tuple[Row, ...]
    baseline: str

    def row(self, name: str) -> Row:
        """The row of this name.

        Raises:
            ConfigError: if there is none.
        """
        found = {row.name: row for row in self.rows}
        if name not in found:
            raise ConfigError(f"{self.source} has no row {name!r}{_nearest(name, found)}: they are {', '.join(found)}.")
        return found[name]

    def based_on(self, config: str | None, baseline: str | None) -> Comparison:
        """The same with another config and another baseline, where they are given."""
        changed = replace(self, config=config or self.config, baseline=baseline or self.baseline)
        changed.row(changed.baseline)
        return changed


def comparisons() -> dict[str, Path]:
    """The comparisons inside the package, by name.

    >>> sorted(comparisons())
    ['duel', 'ladder', 'open', 'passes']
    """
    return {path.stem: path for path in sorted(Path(str(files("padinv") / "presets/compare")).glob("*.yaml"))}


def read_comparison(source: str) -> Comparison:
    """Reads a comparison.

    The file is a list of rows, or a mapping with the keys ``rows``, ``config``, ``options`` and ``baseline``. A row is
    a mapping: ``name``, perhaps a ``title``, and options of ``padinv fit`` by their dotted names.

    Args:
        source: a YAML file, or the name of one of :func:`comparisons`; a file of that name goes first.

    Raises:
        ConfigError: if there is no such file, or it is no comparison.
    """
    known = comparisons()
    path = local_path(source)
    if not path.is_file():
        if source not in known:
            raise ConfigError(
                f"There is no file {source!r}, nor a comparison of that name{_nearest(source, known)}: "
                f"they are {', '.join(known)}."
            )
        path = known[source]
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise ConfigError(f"{source} is no YAML: {error.problem} in line {line}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{source} is no comparison: that would be YAML, written in UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"{source} cannot be read ({error.strerror}).") from error
    return parse_comparison(content, source)


def parse_comparison(content: Any, source: str) -> Comparison:
    """Makes a comparison of what a YAML file holds.

    Args:
        content: what YAML reads from it.
        source: named in messages.

    Raises:
        ConfigError: if that is no comparison.

    >>> parse_comparison([{"name": "w", "model.encoder.padded_resolutions": []}], "mine.yaml").rows[0].words
    ['--model.encoder.padded_resolutions=[]']
    """
    content = {"rows": content} if isinstance(content, list) else content
    if not isinstance(content, dict) or not isinstance(content.get("rows"), list) or not content["rows"]:
        raise ConfigError(f"{source} is no comparison: it must be a list of rows, or have one under the key rows.")
    for key in content:
        if key not in ("rows", "config", "options", "baseline"):
            raise ConfigError(
                f"{source} has the key {key!r}{_nearest(str(key), ('rows', 'config', 'options', 'baseline'))}: a "
                "comparison has rows, config, options and baseline."
            )
    options = _flatten(content.get("options") or {}, f"{source}, options")
    _refuse(options, OWN, f"{source}, options", "is set by padinv compare itself")
    rows = [_row(entry, number, source) for number, entry in enumerate(content["rows"], 1)]
    names = [row.name for row in rows]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{source} has two rows {double!r}: give each a name of its own.")
    comparison = Comparison(source, str(content.get("config") or "congress64"), options, tuple(rows), names[0])
    return comparison.based_on(None, content.get("baseline"))


def _row(entry: Any, number: int, source: str) -> Row:
    if not isinstance(entry, dict) or not NAME.fullmatch(str(entry.get("name", ""))):
        raise ConfigError(
            f"{source}, row {number}: it must have a name, of letters, digits and - . + _ alone, beside its options."
        )
    name = str(entry["name"])
    place = f"{source}, row {name!r}"
    options = _flatten({key: value for key, value in entry.items() if key not in ("name", "title")}, place)
    _refuse(options, OWN, place, "is set by padinv compare itself")
    _refuse(options, SHARED, place, "must be the same for all rows: put it under options, or on the command line")
    return Row(name, str(entry.get("title", name)), options)


def _flatten(options: Any, place: str, prefix: str = "") -> dict[str, Any]:
    """Options by dotted names; a class with its arguments stays one value."""
    if not isinstance(options, dict):
        raise ConfigError(f"{place}: options must be a mapping, such as model.encoder.width: 16, not {options!r}.")
    flat: dict[str, Any] = {}
    for key, value in options.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value and "class_path" not in value:
            flat |= _flatten(value, place, f"{name}.")
        else:
            flat[name] = value
    return flat


def _refuse(options: Mapping[str, Any], names: Sequence[str], place: str, why: str) -> None:
    """Raises ConfigError if one of the options, or a part of one, is among the names."""
    for key in options:
        plain = key.replace(".init_args.", ".")
        if found := next((name for name in names if plain == name or plain.startswith(f"{name}.")), None):
            raise ConfigError(f"{place}: {found} {why}.")


def words_of(options: Mapping[str, Any]) -> list[str]:
    """Options as words of a command line.

    >>> words_of({"model.encoder.width": 16, "model.perceptual_loss": None, "trainer.precision": "bf16-mixed"})
    ['--model.encoder.width=16', '--model.perceptual_loss=null', '--trainer.precision=bf16-mixed']
    """
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in options.items()]


def options_in(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Parts the options of ``padinv fit``, which have dots, from other words.

    Args:
        words: the words of a command line.

    Returns:
        The other words, and the options with their values.

    Raises:
        ConfigError: if an option has no value, or is set by padinv compare itself.

    >>> options_in(["ladder", "--data.train", "faces", "-o", "out", "--schedule.images=1500"])
    (['ladder', '-o', 'out'], {'data.train': 'faces', 'schedule.images': '1500'})
    """
    others: list[str] = []
    options: dict[str, str] = {}
    waiting = iter(words)
    for word in waiting:
        name, equals, value = word.partition("=")
        if not (name.startswith("--") and "." in name):
            others.append(word)
            continue
        if not equals:
            value = next(waiting, "--")
            if value.startswith("--"):
                raise ConfigError(f"{name} needs a value.")
        options[name[2:]] = value
    _refuse(options, OWN, "The command line", "is set by padinv compare itself")
    return others, options


def _nearest(name: str, known: Any) -> str:
    near = nearest(name, known)
    return f"; the nearest is {near}" if near else ""
