"""Training as tests want it: a small encoder, a Trainer that says nothing, and ``fit``, some recorded steps of it."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ProgressBar

from padinv import ImageDataModule, PadInvEncoder, PadInvModule

ENCODER = partial(PadInvEncoder, resolution=32, depth=18, width=4)


class Recorder(Callback):
    """The losses, learning rates and files of every batch; stops after some steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.metrics: list[dict[str, float]] = []
        self.names: list[list[str]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        self.metrics.append({key: float(value) for key, value in trainer.callback_metrics.items()})
        self.names.append(batch["name"])
        trainer.should_stop = int(pl_module.steps) >= self.steps


def small_module(generator: Any, **options: Any) -> PadInvModule:
    """Trains the small encoder by pixels alone, and reports no LPIPS: to build its network takes longest of all."""
    return PadInvModule(generator, **{"encoder": ENCODER, "lambda_per": 0.0, "report_lpips": False, **options})


def quiet_trainer(*callbacks: Callback, **options: Any) -> Trainer:
    """On the CPU, with no logger, no end and no more than the callbacks need."""
    defaults = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
        "enable_progress_bar": any(isinstance(callback, ProgressBar) for callback in callbacks),
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "max_epochs": -1,
        "callbacks": list(callbacks),
    }
    return Trainer(**{**defaults, **options})


def fit(
    module: LightningModule,
    folder: Path,
    steps: int = 3,
    data: dict[str, Any] | None = None,
    ckpt: str | Path | None = None,
    **options: Any,
) -> tuple[Trainer, Recorder]:
    """Trains on a folder of pictures, four at a time, without validation."""
    recorder = Recorder(steps)
    callbacks = [recorder, *options.pop("callbacks", [])]
    trainer = quiet_trainer(*callbacks, **{"limit_val_batches": 0, **options})
    settings = {"train": str(folder), "resolution": 32, "batch_size": 4, "num_workers": 0, **(data or {})}
    trainer.fit(module, ImageDataModule(**settings), ckpt_path=ckpt, weights_only=True)
    return trainer, recorder


def padinv_process(*words: str, test_file: str, timeout: int = 400) -> subprocess.CompletedProcess[str]:
    """``padinv`` in processes of its own, which can import callbacks from a file of tests."""
    folders = (Path(test_file).parent, Path(__file__).parent)
    path = os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "padinv", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
