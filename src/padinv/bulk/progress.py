"""The progress bar of a command on many photographs."""

from __future__ import annotations

import sys
import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

from padinv.bulk.dataset import PhotographDataset


class PhotographProgressBar(TQDMProgressBar):
    """Lightning's bar, counting photographs over all processes.

    Without a terminal, as in a log file, it prints a line from time to time.

    Args:
        every: seconds from one line to the next.
    """

    def __init__(self, every: float = 30.0) -> None:
        super().__init__()
        self.every = every
        self.done = 0
        self.told = time.monotonic()

    @property
    def total(self) -> int:
        """How many photographs there are."""
        loader: Any = self.trainer.predict_dataloaders
        dataset: PhotographDataset = loader.dataset
        return len(dataset.photographs)

    def init_predict_tqdm(self) -> Tqdm:
        """Makes the bar."""
        return Tqdm(
            desc="Photographs",
            total=self.total,
            unit="photograph",
            disable=self.is_disabled or not sys.stdout.isatty(),
            dynamic_ncols=True,
            file=sys.stdout,
            bar_format=self.BAR_FORMAT,
        )

    def on_predict_batch_start(self, *_: Any) -> None:
        """Leaves the bar as it is."""

    def show_step(self, step: int, steps: int) -> None:
        """Shows every ten steps how far the refinement of a batch is, as that may take minutes."""
        if step % 10 == 0:
            self.predict_progress_bar.set_postfix_str(f"step {step} of {steps}")

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Moves the bar, as if all processes were as far as this one."""
        self.done = min(self.total, self.done + len(batch) * trainer.world_size)
        bar = self.predict_progress_bar
        bar.set_postfix_str("", refresh=False)
        bar.n = self.done
        bar.refresh()
        now = time.monotonic()
        if bar.disable and trainer.is_global_zero and now - self.told >= self.every:
            print(f"{self.done} of {self.total} photographs", flush=True)
            self.told = now
