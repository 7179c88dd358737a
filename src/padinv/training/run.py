"""Where a run keeps its files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger

from padinv.files import make_writable


class NoLogger(CSVLogger):
    """Writes nothing, but gives a run its own folder ``save_dir/name/version``.

    Args:
        save_dir: the folder of all runs.
        name: the folder of runs without a logger.
        version: this run's folder; the next free ``version_N`` if not given.
    """

    def __init__(self, save_dir: str, name: str = "unlogged", version: str | None = None) -> None:
        super().__init__(save_dir, name, version)

    @property
    def experiment(self) -> None:
        """Nothing: the writer of CSVLogger would make a file."""

    def log_metrics(self, *_: Any, **__: Any) -> None:
        """Does nothing."""

    log_hyperparams = save = log_metrics


def run_directory(trainer: Trainer) -> Path:
    """The run's own folder, ``save_dir/name/version`` of its first logger, where Lightning puts checkpoints, too.

    Unlike ``trainer.log_dir``, each run has its own folder with every logger, W&B included. All ranks must call it.
    """
    directory = Path(trainer.default_root_dir)
    if trainer.loggers:
        logger = trainer.loggers[0]
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        directory = Path(logger.save_dir or trainer.default_root_dir) / str(logger.name) / version
    return Path(trainer.strategy.broadcast(str(directory)))


def claim_run(trainer: Trainer) -> tuple[Path, bool]:
    """Makes the run's folder on rank zero. Runs that start at the same moment get different versions.

    Args:
        trainer: the run's Trainer; its first logger numbers versions.

    Returns:
        The folder, and whether it was made here. All ranks get one, but only rank zero makes it.
    """
    logger: Any = trainer.logger
    chooses = logger._version is None  # and was not given one by the user
    folder = run_directory(trainer)
    while trainer.is_global_zero:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not chooses:
                break
            logger._version = None  # another run was faster
            taken, folder = folder, run_directory(trainer)
            if folder == taken:
                break
        else:
            return folder, True
    return folder, False


def make_run_directory(trainer: Trainer) -> Path:
    """Makes the run's folder on rank zero, and returns it on all ranks."""
    directory = run_directory(trainer)
    if trainer.is_global_zero:
        directory.mkdir(parents=True, exist_ok=True)
    return directory


def check_writable(trainer: Trainer) -> None:
    """Raises ConfigError unless every folder of the run can be written to; call it before anything is computed."""
    folders = {trainer.default_root_dir, *(logger.save_dir for logger in trainer.loggers)}
    for folder in map(Path, sorted(filter(None, folders))):
        make_writable(folder, "choose another folder with trainer.default_root_dir or the logger's save_dir")


def discard_run(trainer: Trainer, folder: Path) -> None:
    """Removes the folder of a run that made no step, so that the next run takes its version. It waits for no rank."""
    if trainer.is_global_zero and trainer.loggers and not list(folder.glob("checkpoints/*")):
        shutil.rmtree(folder, ignore_errors=True)
