"""The report that a run prints at its end."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from padinv.evaluation.report import write_report
from padinv.training.callbacks.last_checkpoint import LastCheckpoint
from padinv.training.callbacks.pictures import ReconstructionPictures
from padinv.training.callbacks.schedule import ImageSchedule, images_seen
from padinv.training.run import run_directory


class RunReport(Callback):
    """Remembers the metrics before training, and prints the results at the end.

    The metrics before training come from Lightning's sanity check: ``num_sanity_val_steps: -1`` makes it a whole
    validation. They are logged at zero images.
    """

    def __init__(self) -> None:
        self.before: dict[str, float] = {}
        self.after: dict[str, float] = {}
        self.start = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes what validation logged."""
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
        if trainer.sanity_checking:
            self.before = metrics
        else:
            self.after = metrics
        if trainer.state.fn == "validate":
            self.on_test_end(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the metrics before training."""
        self.start = images_seen(pl_module)
        for logger in trainer.loggers if self.before else []:
            logger.log_metrics(self.before, step=0)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints where the checkpoint, the metrics and the picture are."""
        folder = run_directory(trainer)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, LastCheckpoint):
                callback.save(trainer, pl_module)  # LastCheckpoint saves after this
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]  # which writes nothing
            print("\n" + "\n".join(self.lines(trainer, folder)))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints where the metrics will be; those of a test as an evaluation, which it writes there, too."""
        folder = run_directory(trainer)
        if trainer.is_global_zero and trainer.loggers and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            evaluation, trial = (getattr(pl_module, name, None) for name in ("test_evaluation", "trial"))
            if trainer.state.fn == "test" and evaluation is not None and trial is not None:
                evaluation.write_json(folder / "evaluation.json")
                evaluation.write_csv(folder / "images.csv")
                write_report([evaluation], trial.pictures, range(len(evaluation.names)), folder / "report.html")
                print("\n".join(evaluation.lines()))
            print(f"These metrics go to {folder}:")

    def lines(self, trainer: Trainer, folder: Path) -> list[str]:
        """The lines of the report: metrics before and after, and the files that exist."""
        lines = []
        seen = images_seen(trainer.lightning_module)
        schedule = next((c for c in trainer.callbacks if isinstance(c, ImageSchedule)), None)  # type: ignore[attr-defined]
        left = f" of {schedule.images}" if schedule is not None and seen < schedule.images else ""
        if 0 < seen == self.start:
            left = ", all of them before: a larger schedule.images goes on"
        lines.append(f"{'images':<14}{seen}{left}")
        for key, value in self.after.items():
            before = f"{self.before[key]:.4f} → " if key in self.before else ""
            lines.append(f"{key:<14}{before}{value:.4f}")
        checkpoint = trainer.checkpoint_callback
        if isinstance(checkpoint, ModelCheckpoint):
            lines += [f"{'checkpoint':<14}{checkpoint.best_model_path}"] if checkpoint.best_model_path else []
        files = self.files(folder)
        last = [files["to go on from"], *(getattr(c, "last_model_path", "") for c in trainer.checkpoint_callbacks)]
        last += [trainer.ckpt_path or ""]  # a resumed run that has not trained since
        files["to go on from"] = next((path for path in map(Path, last) if path.is_file()), Path())
        return lines + [f"{name:<14}{path}" for name, path in files.items() if path.is_file()]

    def files(self, folder: Path) -> dict[str, Path]:
        """The files that a run may have written, by what they are."""
        return {
            "to go on from": folder / "checkpoints" / "last.ckpt",
            "metrics": folder / "metrics.csv",
            "picture": ReconstructionPictures.path(folder),
            "config": folder / "config.yaml",
        }
