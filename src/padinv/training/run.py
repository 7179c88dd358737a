"""Where a run keeps its files."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

from pytorch_lightning import Trainer

from padinv.exceptions import ConfigError


def run_directory(trainer: Trainer) -> Path:
    """The run's own folder, ``save_dir/name/version`` of its first logger: also that of Lightning's checkpoints.

    Unlike ``trainer.log_dir`` it is one folder a run with every logger, W&B included. All ranks must call it.
    """
    directory = Path(trainer.default_root_dir)
    if trainer.loggers:
        logger = trainer.loggers[0]
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        directory = Path(logger.save_dir or trainer.default_root_dir) / str(logger.name) / version
    return Path(trainer.strategy.broadcast(str(directory)))


def make_run_directory(trainer: Trainer) -> Path:
    """Makes the run's folder, on rank zero, and says on all where it is."""
    directory = run_directory(trainer)
    if trainer.is_global_zero:
        directory.mkdir(parents=True, exist_ok=True)
    return directory


def check_writable(trainer: Trainer) -> None:
    """Raises ConfigError unless files can be written wherever the run will; call it before anything is computed."""
    folders = {trainer.default_root_dir, *(logger.save_dir for logger in trainer.loggers)}
    for folder in map(Path, sorted(filter(None, folders))):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise ConfigError(
                f"Nothing can be written to {folder} ({error.strerror}); "
                "choose another folder with trainer.default_root_dir or the logger's save_dir."
            ) from error
