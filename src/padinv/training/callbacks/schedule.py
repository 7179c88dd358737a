"""Counts in images, so that a recipe means the same with and without a discriminator, on one device or many."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

from padinv.exceptions import ConfigError

NEVER = sys.maxsize


def images_seen(module: LightningModule) -> int:
    """The images that a run has trained on, on all ranks together: the module's buffer of that name."""
    seen = module.images_seen
    return int(seen) if isinstance(seen, torch.Tensor) else 0


class ImageSchedule(Callback):
    """Ends a run after so many images, validates every so many, and measures images per second.

    Lightning's own ``max_steps`` counts the steps of all optimizers, and ``val_check_interval`` counts batches. Leave
    both unset, and set ``max_epochs: -1``. If one of them ends the run earlier, the run is validated there, too.

    Args:
        images: the run ends after so many, on all ranks together, counted from its first start. Published: 100k steps
            of 8 × 8.
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

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Tells the Trainer that it validates by batches, in case :meth:`announce` was not called before."""
        self.announce(trainer)

    def announce(self, trainer: Trainer) -> None:
        """Gives the Trainer its interval of validation, in batches.

        In their ``setup``, EarlyStopping and others read from it whether to look after epochs or after validations, so
        padinv's modules call this before. Each batch decides when to validate.
        """
        if self.validate_every is None or trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by a connector
            return
        batch = getattr(getattr(trainer, "datamodule", None), "batch_size", 1) or 1
        trainer.check_val_every_n_epoch = None
        trainer.val_check_interval = max(1, round(self.validate_every / (batch * trainer.world_size)))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock; stops at once if the run was resumed after its end."""
        self._seen = images_seen(pl_module)
        self._clock = (time.perf_counter(), self._seen)
        if self._by_images(trainer):
            trainer.val_check_batch = NEVER
        trainer.should_stop = self._seen >= self.images

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tells Lightning whether to validate now, and whether to stop."""
        before, self._seen = self._seen, images_seen(pl_module)
        if self.validate_every is not None and self._by_images(trainer):
            crossed = self._seen // self.validate_every > before // self.validate_every
            trainer.val_check_batch = 1 if crossed else NEVER
        if self._seen >= self.images or _is_last(trainer):
            trainer.should_stop = True
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by a connector; 0 if nothing is logged
        if every and (batch_idx + 1) % every == 0:
            now, (then, since) = time.perf_counter(), self._clock
            pl_module.log("speed/images_per_second", (self._seen - since) / (now - then), prog_bar=True)
            self._clock = (now, self._seen)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the time of validation out of the speed."""
        self._clock = (time.perf_counter(), images_seen(pl_module))

    def _by_images(self, trainer: Trainer) -> bool:
        return self.validate_every is not None and trainer.check_val_every_n_epoch is None


def planned_images(trainer: Trainer) -> int | None:
    """The images after which a run ends, by the first of its limits; None if no limit can be given in images."""
    loop, batch = trainer.fit_loop, getattr(getattr(trainer, "datamodule", None), "batch_size", None)
    limits = [float(callback.images) for callback in trainer.callbacks if isinstance(callback, ImageSchedule)]  # type: ignore[attr-defined]  # set by a connector
    if batch is not None:
        if loop.max_epochs not in (None, -1):
            limits.append(loop.max_epochs * trainer.num_training_batches * batch * trainer.world_size)
        if loop.max_steps >= 0 and trainer.optimizers:
            limits.append(-(-loop.max_steps // len(trainer.optimizers)) * batch * trainer.world_size)
    least = min(limits, default=float("inf"))
    return int(least) if least < float("inf") else None


def _is_last(trainer: Trainer) -> bool:
    """Whether Lightning's own limits end the run after this batch."""
    loop = trainer.fit_loop
    last_epoch = loop.max_epochs not in (None, -1) and trainer.current_epoch + 1 >= loop.max_epochs
    last_step = 0 <= loop.max_steps <= trainer.global_step
    return last_step or (bool(last_epoch) and trainer.is_last_batch)


class ImageProgressBar(TQDMProgressBar):
    """Lightning's bar, counting images seen, up to the budget of :class:`ImageSchedule` or a smaller limit."""

    def init_train_tqdm(self) -> Tqdm:
        """Makes the bar of the run."""
        bar = super().init_train_tqdm()
        bar.unit = "img"
        return bar

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Sets the total, and the images that a resumed run has seen."""
        self.train_progress_bar.total = planned_images(trainer)
        self.train_progress_bar.set_description("Training")
        if trainer.lightning_module is not None and self.train_progress_bar.n == 0:
            self.train_progress_bar.initial = images_seen(trainer.lightning_module)
            self.train_progress_bar.n = self.train_progress_bar.initial

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar to the images seen."""
        if self.is_enabled and (batch_idx + 1) % self.refresh_rate == 0:
            self.train_progress_bar.n = images_seen(pl_module)
            self.train_progress_bar.set_postfix(self.get_metrics(trainer, pl_module))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the bar: epochs do not matter here."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The text behind the bar, without Lightning's version number."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics
