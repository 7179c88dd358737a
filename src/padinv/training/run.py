"""Where a run keeps its files."""

from __future__ import annotations

from pathlib import Path

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
    """Makes the run's folder on rank zero.

    Raises:
        ConfigError: if nothing can be written there.
    """
    directory = run_directory(trainer)
    if trainer.is_global_zero:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            probe = directory / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ConfigError(
                f"Nothing can be written to {directory} ({error.strerror}); "
                "choose another folder with trainer.default_root_dir or the logger's save_dir."
            ) from error
    return directory
