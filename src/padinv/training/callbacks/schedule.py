"""Counts in images, so that a recipe means the same with and without a discriminator, on one device or many."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm
from rich.progress import Progress

from padinv.exceptions import ConfigError
from padinv.progress import terminal_bar

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


class RichBar(Tqdm):
    """A bar of tqdm's that rich draws: a task of a bar that all of a run share.

    Args:
        shared: what draws it; it ends with the last of its tasks.
        desc: what the bar counts.
        leave: whether it stays when it is full.
    """

    def __init__(self, shared: Progress, desc: str, leave: bool = False) -> None:
        self.shared, self.task = shared, shared.add_task(desc, total=None, note="")
        super().__init__(desc=desc, leave=leave, gui=True)  # tqdm itself draws nothing then

    def display(self, *_: Any, **__: Any) -> None:
        """Draws how far it is."""
        note = self.postfix or ""
        self.shared.update(self.task, description=self.desc.rstrip(": "), completed=self.n, total=self.total, note=note)

    def close(self) -> None:
        """Ends this bar."""
        if self.disable:
            return
        self.display()
        super().close()
        self.shared.stop_task(self.task)
        if not self.leave:
            self.shared.remove_task(self.task)
        if all(task.stop_time is not None for task in self.shared.tasks):
            self.shared.stop()


class ImageProgressBar(TQDMProgressBar):
    """Lightning's bar, counting images seen, up to the budget of :class:`ImageSchedule` or a smaller limit.

    On a terminal rich draws it.
    """

    _shared: Progress | None = None

    def _bar(self, otherwise: Callable[[], Tqdm], description: str, leave: bool = False) -> Tqdm:
        if self.is_disabled or not sys.stdout.isatty():
            return otherwise()
        if self._shared is None or not self._shared.live.is_started:
            self._shared = terminal_bar(sys.stdout)
            self._shared.start()
        return RichBar(self._shared, description, leave)

    def init_sanity_tqdm(self) -> Tqdm:
        """Makes the bar of what validation is tried on."""
        return self._bar(super().init_sanity_tqdm, self.sanity_check_description)

    def init_validation_tqdm(self) -> Tqdm:
        """Makes the bar of a validation, in batches; below it is that of the run, if there is one."""
        return self._bar(super().init_validation_tqdm, "Validation", leave=self.trainer.state.fn == "validate")

    def init_test_tqdm(self) -> Tqdm:
        """Makes the bar of a test, in batches."""
        return self._bar(super().init_test_tqdm, "Testing", leave=True)

    def init_train_tqdm(self) -> Tqdm:
        """Makes the bar of the run."""
        bar = self._bar(super().init_train_tqdm, self.train_description, leave=True)
        bar.unit = "img"
        return bar

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Ends the bars, so that the terminal is as it was."""
        if self._shared is not None:
            self._shared.stop()

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        """Begins the bar, where a resumed run goes on; that of a run resumed within an epoch hears of no epoch."""
        super().on_train_start(trainer)
        self.train_progress_bar.n = self.train_progress_bar.initial = images_seen(trainer.lightning_module)
        self.on_train_epoch_start(trainer)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Sets the total."""
        self.train_progress_bar.total = planned_images(trainer)
        self.train_progress_bar.set_description("Training")

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
