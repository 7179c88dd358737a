"""What each rank of a training on several processes has after each step, in files that a test reads."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class RankRecorder(Callback):
    """Writes what a rank has after each step: its files, its losses, and a digest of all weights and statistics.

    Args:
        folder: of the records, ``rankN.json``, and of ``saved.ckpt``.
        save_at: the step after which it saves a checkpoint.
    """

    def __init__(self, folder: str, save_at: int) -> None:
        self.folder, self.save_at = Path(folder), save_at
        self.folder.mkdir(parents=True, exist_ok=True)
        self.steps: list[dict[str, Any]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        digest = hashlib.sha256()
        for name, tensor in pl_module.state_dict().items():
            if name not in ("steps", "images_seen"):  # which change even if nothing is learned
                digest.update(tensor.contiguous().numpy().tobytes())
        losses = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("loss/")}
        self.steps.append({"digest": digest.hexdigest(), "names": batch["name"], "losses": losses})
        if int(pl_module.steps) == self.save_at:
            trainer.save_checkpoint(self.folder / "saved.ckpt")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        (self.folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(self.steps))


def recording(folder: Path, devices: int, save_at: int) -> list[str]:
    """The words of a command line that train on CPUs, log every step and record every rank."""
    words = ["--trainer.accelerator=cpu", f"--trainer.devices={devices}", "--trainer.num_sanity_val_steps=0"]
    words += ["--trainer.log_every_n_steps=1", f"--trainer.logger.save_dir={folder}"]
    words += ["--trainer.callbacks+=rank_recorder.RankRecorder", f"--trainer.callbacks.folder={folder}"]
    return [*words, f"--trainer.callbacks.save_at={save_at}"]


def recorded(folder: Path, devices: int) -> list[list[dict[str, Any]]]:
    """What each rank recorded of each step."""
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(devices)]


def validations(folder: Path, key: str) -> list[dict[str, float]]:
    """The metrics of each validation of the only run in a folder of runs, those that measured ``key``."""
    with (folder / "version_0" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row[key]]
    return [{name: float(value) for name, value in row.items() if name.startswith("val/")} for row in rows]
