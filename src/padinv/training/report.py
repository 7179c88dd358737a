"""What a run says when it ends."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from padinv.training.module import PadInvModule
from padinv.training.pictures import ReconstructionPictures
from padinv.training.run import run_directory


class RunReport(Callback):
    """Remembers the metrics before training, and prints what came of it at the end.

    The metrics before training come from Lightning's sanity check: ``num_sanity_val_steps: -1`` makes it a whole
    validation. They are logged at zero images.
    """

    def __init__(self) -> None:
        self.before: dict[str, float] = {}
        self.after: dict[str, float] = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the metrics before the module resets them."""
        if isinstance(pl_module, PadInvModule):
            metrics = {key: float(value) for key, value in pl_module.val_metrics.compute().items()}
            if trainer.sanity_checking:
                self.before = metrics
            else:
                self.after = metrics

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the metrics before training."""
        for logger in trainer.loggers if self.before else []:
            logger.log_metrics(self.before, step=0)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints where the checkpoint, the metrics and the picture are."""
        folder = run_directory(trainer)
        if trainer.is_global_zero:
            print("\n" + "\n".join(self.lines(trainer, folder)))

    def lines(self, trainer: Trainer, folder: Path) -> list[str]:
        """What there is to say: metrics before and after, and the files that exist."""
        lines = []
        for key, value in self.after.items():
            before = f"{self.before[key]:.4f} → " if key in self.before else ""
            lines.append(f"{key:<14}{before}{value:.4f}")
        checkpoint = trainer.checkpoint_callback
        if isinstance(checkpoint, ModelCheckpoint):
            lines += [f"{'checkpoint':<14}{checkpoint.best_model_path}"] if checkpoint.best_model_path else []
        files = {
            "to go on from": folder / "checkpoints" / "last.ckpt",
            "metrics": folder / "metrics.csv",
            "picture": ReconstructionPictures.path(folder),
            "config": folder / "config.yaml",
        }
        return lines + [f"{name:<14}{path}" for name, path in files.items() if path.is_file()]
