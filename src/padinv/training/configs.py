"""Configs: the presets of the package by their names, and the config that is saved with each run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback

from padinv.exceptions import ConfigError
from padinv.help import presets as presets
from padinv.training.run import make_run_directory


def resolve_presets(args: Sequence[str], folder: str = "presets") -> list[str]:
    """Replaces names of presets behind ``--config`` (or ``-c``) by their files; a file of that name is preferred.

    >>> [Path(arg).name for arg in resolve_presets(["fit", "--config", "quickstart"])]
    ['fit', '--config', 'quickstart.yaml']
    """
    known = presets(folder)
    resolved: list[str] = []
    for arg in args:
        option, equals, value = arg.partition("=")
        if resolved and resolved[-1] in ("--config", "-c"):
            arg = _preset(arg, known)
        elif equals and option == "--config":
            arg = f"{option}={_preset(value, known)}"
        resolved.append(arg)
    return resolved


def _preset(name: str, known: dict[str, Path]) -> str:
    if Path(name).is_file():
        _check_text(name)
        return name
    if not name.replace("_", "").replace("-", "").isalnum():
        return name
    if name not in known:
        raise ConfigError(f"There is no config file {name!r}, nor a preset of that name: they are {', '.join(known)}.")
    return str(known[name])


def _check_text(config: str) -> None:
    try:
        with Path(config).open(encoding="utf-8") as file:
            if "\0" not in file.read(1_000_000):
                return
    except UnicodeDecodeError:
        pass
    except OSError as error:
        raise ConfigError(f"The config {config} cannot be read ({error.strerror}).") from error
    raise ConfigError(f"{config} is no config: that would be YAML, written in UTF-8.")


class RunConfigCallback(SaveConfigCallback):
    """Saves the run's config into the run's own folder: with W&B, ``trainer.log_dir`` is shared by all runs.

    Attributes:
        path: where the config is written.
        worked: whether the run has made a step of training.
    """

    path = Path()
    worked = False

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Writes config.yaml on rank zero, and shows it to all loggers."""
        # Nulls are kept, since a default may be another value.
        self.parser.save(self.config, str(self.path), overwrite=True, multifile=self.multifile, skip_unset=False)
        written = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        for logger in trainer.loggers:
            logger.log_hyperparams(written)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Makes the folder first, on all ranks together."""
        self.path = make_run_directory(trainer) / self.config_filename
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(self, *_: Any) -> None:
        """Notes that the run has worked."""
        self.worked = True
