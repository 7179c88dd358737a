"""Keeps the memory that a run on a CPU frees (:mod:`padinv.cpu.memory`)."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from padinv.cpu import keep_freed_memory, set_apart


class KeepFreedMemory(Callback):
    """Asks for it after the first batch of training, and at once if nothing is trained.

    The first batch makes what stays, the moments of the optimizers; that is set apart from what comes and goes.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begins."""
        self.first = stage == "fit"
        if not self.first:
            keep_freed_memory()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Sets apart what the first batch makes."""
        if self.first:
            set_apart()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keeps what is freed from now on."""
        if self.first:
            keep_freed_memory()
        self.first = False
