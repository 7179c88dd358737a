"""Trains the rows of a comparison: the same budget, order of images and seeds, each row × seed in its own folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import yaml

from padinv.comparison.rows import Comparison, Row, words_of
from padinv.data import ImageDataModule
from padinv.data.datamodule import Split
from padinv.exceptions import CheckpointError, ConfigError, PadInvError
from padinv.files import writing
from padinv.training import PadInvModule
from padinv.training.cli import PadInvCLI, run_command

COMPARED = ("model", "data", "schedule", "seed_everything")
"""The parts of a config that decide what is learned."""

SEEDS = ("seed_everything", "data.seed")
"""The settings in which the runs of one row differ."""

FREE = ("data.test", "data.predict", "data.eval_batch_size", "data.num_workers", "schedule.validate_every")
"""Options among them that do not."""


@dataclass(frozen=True)
class Run:
    """The training of one row with one seed.

    Args:
        row: what it trains.
        seed: seeds the weights and the order of images.
        folder: its own folder.
        words: the words of ``padinv fit`` that make it.
        settings: what decides what is learned, by dotted names.
        held_out: the paths of the images to measure on.
    """

    row: Row
    seed: int
    folder: Path
    words: tuple[str, ...]
    settings: Mapping[str, Any]
    held_out: list[str]

    @property
    def record(self) -> Path:
        """The file that tells what is trained here, and whether that is done."""
        return self.folder / "row.json"

    @property
    def is_done(self) -> bool:
        """Whether it has been trained to its end."""
        return bool(self._recorded().get("finished")) and self.checkpoint is not None

    @property
    def checkpoint(self) -> Path | None:
        """The last checkpoint, if there is one."""
        found = sorted(self.folder.glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
        return found[-1] if found else None

    def check(self) -> None:
        """Sees to it that the folder holds nothing else.

        Raises:
            ConfigError: if it was trained with other options.
        """
        before = self._recorded().get("settings")
        if before is None:
            return
        now = json.loads(json.dumps(self.settings))
        # An option that the folder does not know is one that padinv did not have then.
        if changed := [name for name in before if before[name] != now.get(name)]:
            told = ", ".join(f"{name} {before.get(name)!r}, now {now.get(name)!r}" for name in changed[:3])
            raise ConfigError(
                f"{self.folder} was trained with other options ({told}{', …' if changed[3:] else ''}): give another "
                "--output, or remove that folder."
            )

    def train(self) -> int:
        """Trains, from the last checkpoint if there is one.

        Returns:
            The exit code of ``padinv fit``: 0 at the end of the budget, others if it was stopped.

        Raises:
            PadInvError: if it cannot be trained.
        """
        self.write(finished=False)
        last = self.checkpoint
        code = run_command("fit", [*self.words, *([] if last is None else [f"--ckpt_path={last}"])])
        if code == 0:
            if self.checkpoint is None:
                raise ConfigError(f"{self.row.name} leaves no checkpoint: do not switch last_checkpoint off.")
            self.write(finished=True)
        return code

    def module(self) -> tuple[PadInvModule, ImageDataModule]:
        """The trained module, and the data that it was given.

        Raises:
            CheckpointError: if the checkpoint does not fit the row.
        """
        module, data, _ = make(self.words)
        assert self.checkpoint is not None
        content = torch.load(self.checkpoint, map_location="cpu", weights_only=True, mmap=True)
        module.on_load_checkpoint(content)
        module.load_state_dict(content["state_dict"])
        return module, data

    def write(self, *, finished: bool) -> None:
        """Writes the record."""
        content = {"name": self.row.name, "seed": self.seed, "finished": finished, "settings": self.settings}
        with writing(self.record, ConfigError, parents=True) as path:
            path.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def _recorded(self) -> dict[str, Any]:
        try:
            content = json.loads(self.record.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{self.record} is damaged: remove {self.folder} to train it anew.") from error
        return content if isinstance(content, dict) else {}


def plan(
    comparison: Comparison,
    output: Path,
    seeds: int,
    options: Mapping[str, str] | None = None,
    more: Sequence[str] = (),
) -> list[Run]:
    """Checks all rows before anything is trained, each by making its networks and opening its images.

    Args:
        comparison: what to compare.
        output: the folder of results.
        seeds: how many seeds each row has, from 0 up.
        options: those of all rows; they override the file's, and a row's own override them.
        more: further words of ``padinv fit``.

    Returns:
        The runs, the first seed of all rows first, so that a comparison that is stopped has something to show.

    Raises:
        ConfigError: if a row has an option that there is not, or that does not fit; it names the row.
        PadInvError: of other kinds, if a file is missing.
    """
    runs: list[Run] = []
    shared = words_of({**comparison.options, **(options or {})})
    for row in comparison.rows:
        folder = output / "runs" / row.name
        words = [f"--config={comparison.config}", *more, *shared, *row.words, *_own(output, folder, 0)]
        settings, held_out = _checked(row, words, comparison.source)
        seeded = [name for name in SEEDS if name in settings]
        for seed in range(seeds):
            own = [*_own(output, folder, seed), *words_of(dict.fromkeys(seeded, seed))]
            known = {**settings, **dict.fromkeys(seeded, seed)}
            runs.append(Run(row, seed, folder / f"seed-{seed}", (*words, *own), known, held_out))
            runs[-1].check()
    return sorted(runs, key=lambda run: run.seed)


def _own(output: Path, folder: Path, seed: int) -> list[str]:
    """The options that give a run its folder, and one device."""
    arguments = {"save_dir": str(folder), "name": f"seed-{seed}"}
    logger = {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": arguments}
    return words_of({"trainer.devices": 1, "trainer.default_root_dir": str(output), "trainer.logger": logger})


def _checked(row: Row, words: Sequence[str], source: str) -> tuple[dict[str, Any], list[str]]:
    """Makes what a row trains; returns its settings, and the paths of its held-out images."""
    try:
        module, data, settings = make(words)
        if not isinstance(module, PadInvModule):
            raise ConfigError(f"its model is a {type(module).__name__}, which trains no encoder.")
        data.setup("fit")
        measured: Split = "test" if data.paths["test"] is not None else "val"
        data.setup("test" if measured == "test" else "validate")
        paths = data.paths[measured] or data.paths["train"] or []
    except PadInvError as error:
        raise type(error)(f"{source}, row {row.name!r}: {error}") from error
    return settings, [measured, *([paths] if isinstance(paths, str) else paths)]


def make(words: Sequence[str]) -> tuple[PadInvModule, ImageDataModule, dict[str, Any]]:
    """Makes the module and the data of a command line, and tells the settings that decide what is learned."""
    with _quiet():
        cli = PadInvCLI(run=False, args=list(words))
    config = yaml.safe_load(cli.parser.dump(cli.config, skip_unset=False))
    settings = _dotted({part: config.get(part) for part in COMPARED})
    settings |= {"trainer.precision": config["trainer"].get("precision")}
    kept = {name: value for name, value in settings.items() if name not in FREE}
    return cast(PadInvModule, cli.model), cast(ImageDataModule, cli.datamodule), kept


def _dotted(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config by dotted names, without the levels ``init_args``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = prefix if key == "init_args" else f"{prefix}.{key}".lstrip(".")
        if isinstance(value, Mapping) and value:
            flat |= _dotted(value, name)
        else:
            flat[name] = value
    return flat


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Lightning from telling of seeds and devices for each row that is only checked."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)
