"""The checkpoint to go on from: always the latest state, whatever becomes of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from padinv.exceptions import ConfigError, NonFiniteLossError
from padinv.training.run import make_run_directory
from padinv.training.schedule import images_seen


class LastCheckpoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` every so many images, after each validation, at the end and when interrupted.

    Lightning runs checkpoint callbacks after all others: listed behind ModelCheckpoint, it holds what that one knows.
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

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts from where a resumed run stands."""
        self._saved = images_seen(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves if it is time."""
        if images_seen(pl_module) // self.every_images > self._saved // self.every_images:
            self._save(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves after every validation of training."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the end."""
        self._save(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Saves what was learned so far.

        Saving waits for all ranks. A signal meets each of them elsewhere, but all raise a non-finite loss at one place.
        """
        everywhere = trainer.world_size == 1 or isinstance(exception, NonFiniteLossError)
        if trainer.state.fn == "fit" and everywhere:
            self._save(trainer, pl_module)

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seen = images_seen(pl_module)
        if seen > self._saved and not getattr(trainer, "fast_dev_run", False):
            trainer.save_checkpoint(self.path, weights_only=False)
            self._saved = seen
