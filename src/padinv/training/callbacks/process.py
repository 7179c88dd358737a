"""What a run does to its process: it stops when it is told to, and keeps the memory that it frees.

It is told by Ctrl+C, by a scheduler's SIGTERM, or by the end of its terminal.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Callback, LightningModule, Trainer

from padinv.cpu import keep_freed_memory, set_apart
from padinv.training.alternating import AlternatingModule
from padinv.training.callbacks.last_checkpoint import LastCheckpoint
from padinv.training.callbacks.schedule import images_seen

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Windows has no SIGHUP, which the end of a terminal or of its connection sends."""


class Stopped(SystemExit):
    """Ends the process as the signal would have, with exit code 128 + signal; 143 for SIGTERM, 130 for Ctrl+C.

    Args:
        code: the exit code of the process.
        path: the checkpoint to go on from; None if there is none, and on all ranks but the first.
    """

    def __init__(self, code: int, path: Path | None = None) -> None:
        super().__init__(code)
        self.path = path


class StopAtSignals(Callback):
    """Ends training at a signal, after the step in progress, with a checkpoint that holds this step.

    A signal may reach one process of many, or each in another step. The handler only notes it. The ranks share their
    notes where they also agree on whether the loss is finite (:meth:`.AlternatingModule.check_finite`), so that all
    save together and end after the same step. A second signal ends the process at once, but not while it saves.

    Lightning handles SLURM's SIGUSR1.
    """

    def __init__(self) -> None:
        self.noted = 0
        self.saving = False

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listens from here on: Lightning has installed its handlers by now, and later puts the old ones back."""
        self.listen(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listens if there was no sanity check."""
        self.listen(pl_module)

    def listen(self, pl_module: LightningModule) -> None:
        """Installs the handlers, which only a main thread can have."""

        def note(signum: int, frame: FrameType | None) -> None:
            if self.saving:  # it takes a moment; who cannot wait sends a third one
                self.saving = False
                return
            if self.noted:
                os._exit(128 + signum)
            self.noted = signum
            if isinstance(pl_module, AlternatingModule):
                pl_module.signal = signum

        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                # nohup ignores SIGHUP
                if signum != getattr(signal, "SIGHUP", None) or signal.getsignal(signum) != signal.SIG_IGN:
                    signal.signal(signum, note)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stops if the ranks have agreed to in this step."""
        agreed = pl_module.agreed_signal if isinstance(pl_module, AlternatingModule) else self.agree(trainer)
        self.stop(trainer, pl_module, agreed)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stops a single process; several may not have the same number of batches."""
        if trainer.state.fn == "fit" and trainer.world_size == 1:
            self.stop(trainer, pl_module, self.noted)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops several processes, which are all at this point."""
        if trainer.state.fn == "fit":
            self.stop(trainer, pl_module, self.agree(trainer))

    def agree(self, trainer: Trainer) -> int:
        """The signal that any rank has noted; all must call it."""
        noted = torch.tensor(self.noted, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(noted, reduce_op="max"))

    def stop(self, trainer: Trainer, pl_module: LightningModule, signum: int) -> None:
        """Saves and ends after a signal, on all ranks together.

        Raises:
            Stopped: the end.
        """
        if not signum:
            return
        last = next((c for c in trainer.checkpoint_callbacks if isinstance(c, LastCheckpoint)), None)
        if last is not None:
            self.saving = True
            last.save(trainer, pl_module)
            self.saving = False
        code = 128 + signum
        if not trainer.is_global_zero:
            # If a process that Lightning started fails, it kills the first one, whose exit code is then lost.
            environment = getattr(trainer.strategy, "cluster_environment", None)
            raise Stopped(0 if isinstance(environment, LightningEnvironment) else code)
        path = last.path if last is not None and last.path.is_file() else None
        kept = (
            f"{path} holds all of them" if path is not None else "no checkpoint was asked for, or nothing was learned"
        )
        name = signal.Signals(signum).name
        print(f"\nStopped by {name} after {images_seen(pl_module)} images: {kept}.", file=sys.stderr, flush=True)
        raise Stopped(code, path)


class KeepFreedMemory(Callback):
    """Keeps the memory that a run on a CPU frees, after the first batch; at once if nothing is trained.

    The first batch allocates the optimizers' moments, which stay; they are kept apart from memory that comes and goes.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keeps memory at once, unless the run trains."""
        self.first = stage == "fit"
        if not self.first:
            keep_freed_memory()

    def on_train_batch_start(self, *_: Any) -> None:
        """Keeps the memory of the first batch apart."""
        if self.first:
            set_apart()

    def on_train_batch_end(self, *_: Any) -> None:
        """Keeps what is freed from now on."""
        if self.first:
            keep_freed_memory()
        self.first = False
