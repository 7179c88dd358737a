"""Counting in images: a recipe means the same training with and without a discriminator, on one device or on many."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from padinv.exceptions import ConfigError

NEVER = sys.maxsize


def images_seen(module: LightningModule) -> int:
    """How many images a run has trained on so far, on all ranks together, from the module's buffer of that name."""
    seen = module.images_seen
    return int(seen) if isinstance(seen, torch.Tensor) else 0


class ImageSchedule(Callback):
    """Ends a run after so many images, validates every so many, and measures images per second.

    Lightning's own ``max_steps`` counts the steps of all optimizers, and ``val_check_interval`` counts batches. Leave
    them, and set ``max_epochs: -1``.

    Args:
        images: the run ends when it has seen so many, on all ranks together, counted from its very beginning.
            Published: 100k steps of 8 × 8.
        validate_every: images from one validation to the next; each epoch's end if not given. The end is validated,
            too.

    Raises:
        ConfigError: if a number is not positive.
    """

    def __init__(self, images: int = 6_400_000, validate_every: int | None = None) -> None:
        if images < 1 or (validate_every is not None and validate_every < 1):
            raise ConfigError("images and validate_every of ImageSchedule must be 1 or more.")
        self.images = images
        self.validate_every = validate_every
        self._clock = (0.0, 0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock; stops at once if the run was resumed after its end."""
        self._seen = images_seen(pl_module)
        self._clock = (time.perf_counter(), self._seen)
        if self.validate_every is not None:
            trainer.check_val_every_n_epoch = None
            trainer.val_check_batch = NEVER
        trainer.should_stop = self._seen >= self.images

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tells Lightning whether to validate now, and whether to stop."""
        before, self._seen = self._seen, images_seen(pl_module)
        if self.validate_every is not None:
            crossed = self._seen // self.validate_every > before // self.validate_every
            trainer.val_check_batch = 1 if crossed else NEVER
        if self._seen >= self.images:
            trainer.should_stop = True
        if (batch_idx + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # set by a connector
            now, (then, since) = time.perf_counter(), self._clock
            pl_module.log("speed/images_per_second", (self._seen - since) / (now - then), prog_bar=True)
            self._clock = (now, self._seen)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the time of validation out of the speed."""
        self._clock = (time.perf_counter(), images_seen(pl_module))
