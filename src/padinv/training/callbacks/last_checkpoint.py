"""Writes the checkpoint to go on from: always the latest state, however the run ends."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins import TorchCheckpointIO

from padinv.exceptions import CheckpointError, ConfigError, NonFiniteLossError
from padinv.files import writing
from padinv.training.callbacks.schedule import images_seen
from padinv.training.resuming import check_checkpoint
from padinv.training.run import make_run_directory


class WholeCheckpoints(TorchCheckpointIO):
    """Writes all checkpoints beside their place, and moves them there once they are on the disk.

    Lightning copies its checkpoints from the temporary folder if that is on another disk. A process that is killed
    meanwhile would leave half a checkpoint in place of the last one, and a full temporary folder would end the run.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes to a path, or, as Lightning does, to an address such as ``s3://…``.

        Raises:
            CheckpointError: if the disk is full, or the folder cannot be written to; the earlier file is still there.
        """
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with writing(path, CheckpointError, parents=True) as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError:  # "unexpected pos": torch does not say what the system has said
                with file.open("ab") as end:
                    end.write(bytes(2**20))  # on a full disk this raises it
                raise

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads tensors alone unless told otherwise; from an address, Lightning would run code in the file.

        Raises:
            CheckpointError: if it is damaged, or no run's.
        """
        check_checkpoint(str(path), weights_only is not False)
        return super().load_checkpoint(path, map_location, weights_only is not False)


class LastCheckpoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` every so many images, after each validation, at the end and when interrupted.

    Lightning runs checkpoint callbacks last. Listed after ModelCheckpoint, this one saves the state of that one, too.
    Lightning's ``ModelCheckpoint(monitor=..., save_last=True)`` writes its last one only when the metric improves.

    Args:
        every_images: images from one save to the next.

    Raises:
        ConfigError: if the number is not positive.
    """

    def __init__(self, every_images: int = 64_000) -> None:
        if every_images < 1:
            raise ConfigError(f"every_images of LastCheckpoint must be 1 or more, not {every_images}.")
        self.every_images = every_images
        self.path = Path()
        self._saved = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Decides on the path, on all ranks."""
        self.path = make_run_directory(trainer) / "checkpoints" / "last.ckpt"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes ``last-v1.ckpt`` and so on beside the last one of another run: runs without a logger share a folder."""
        if not trainer.loggers:
            resumed = Path(str(trainer.ckpt_path)).resolve()  # this run's own, which it goes on with
            paths = chain([self.path], (self.path.with_name(f"last-v{number}.ckpt") for number in count(1)))
            free = next(path for path in paths if path.resolve() == resumed or not path.exists())
            self.path = Path(trainer.strategy.broadcast(str(free)))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts from the images that a resumed run has seen."""
        self._saved = images_seen(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Saves if it is time."""
        if images_seen(pl_module) // self.every_images > self._saved // self.every_images:
            self.save(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves after every validation of training."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.save(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the end."""
        self.save(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Saves what was learned so far.

        Saving waits for all ranks. Other errors happen on each rank at another place, but all ranks raise a non-finite
        loss together. A run that has diverged leaves the last checkpoint as it is. Its own state, if still finite, goes
        to ``diverged.ckpt`` beside it.
        """
        if trainer.state.fn != "fit":
            return
        if isinstance(exception, NonFiniteLossError):
            with suppress(NonFiniteLossError):  # then its weights are not finite either
                self.save(trainer, pl_module, self.path.with_name("diverged.ckpt"))
        elif trainer.world_size == 1:
            self.save(trainer, pl_module)

    def save(self, trainer: Trainer, pl_module: LightningModule, path: Path | None = None) -> None:
        """Saves, on all ranks together, unless nothing was learned since.

        Args:
            trainer: the run's Trainer.
            pl_module: the run's module.
            path: where to save; ``last.ckpt`` if not given.
        """
        seen = images_seen(pl_module)
        if seen > self._saved and not getattr(trainer, "fast_dev_run", False):
            trainer.save_checkpoint(path or self.path, weights_only=False)
            self._saved = seen
