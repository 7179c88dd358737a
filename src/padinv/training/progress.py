"""One progress bar for the whole run, in images."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

from padinv.training.schedule import images_seen, planned_images


class ImageProgressBar(TQDMProgressBar):
    """Lightning's bar, but it counts images seen, up to the budget of :class:`.ImageSchedule`, or a smaller limit."""

    def init_train_tqdm(self) -> Tqdm:
        """Makes the bar of the run."""
        bar = super().init_train_tqdm()
        bar.unit = "img"
        return bar

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Sets the total, and where a resumed run stands."""
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
        """What stands behind the bar, without Lightning's version number."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics
