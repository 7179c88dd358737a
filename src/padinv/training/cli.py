"""``padinv fit | validate | test | predict``: a LightningCLI over typed YAML configs.

``--config`` takes a file, or the name of a preset inside the package (:func:`presets`). Everything in a config can be
given as an option, too: ``padinv fit --config quickstart --model.lambda_per 0.5``.
"""

from __future__ import annotations

import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, cast

import yaml
from jsonargparse import Namespace
from lightning_utilities.core.imports import RequirementCache
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.utilities.exceptions import SIGTERMException

from padinv.checkpoints.hyperparameters import build_arguments, known_classes, saved_arguments
from padinv.exceptions import ConfigError
from padinv.training import (
    ImageProgressBar,
    ImageSchedule,
    LastCheckpoint,
    PredictionWriter,
    ReconstructionPictures,
    RunReport,
)
from padinv.training.alternating import AlternatingModule
from padinv.training.memory import KeepFreedMemory
from padinv.training.run import check_writable, make_run_directory
from padinv.training.stopping import StopAtSignals, Stopped


def presets(folder: str = "presets") -> dict[str, Path]:
    """The configs in a folder of the package by name.

    Those of ``padinv fit``: quickstart, and the published recipes ffhq, church and bedroom.
    """
    return {path.stem: path for path in sorted(Path(str(files("padinv") / folder)).glob("*.yaml"))}


def resolve_presets(args: Sequence[str], folder: str = "presets") -> list[str]:
    """Replaces names of presets behind ``--config`` (or ``-c``) by their files; a file of that name goes first.

    >>> [Path(arg).name for arg in resolve_presets(["fit", "--config", "quickstart"])]
    ['fit', '--config', 'quickstart.yaml']
    """
    known = presets(folder)
    resolved: list[str] = []
    for arg in args:
        option, equals, value = arg.partition("=")
        if resolved and resolved[-1] in ("--config", "-c"):
            arg = _preset(arg, known)
        elif equals and option == "--config":
            arg = f"{option}={_preset(value, known)}"
        resolved.append(arg)
    return resolved


def _preset(name: str, known: dict[str, Path]) -> str:
    if Path(name).is_file() or not name.replace("_", "").replace("-", "").isalnum():
        return name
    if name not in known:
        raise ConfigError(f"There is no config file {name!r}, nor a preset of that name: they are {', '.join(known)}.")
    return str(known[name])


class RunConfigCallback(SaveConfigCallback):
    """Saves the run's config into the run's own folder: with W&B, ``trainer.log_dir`` is shared by all runs."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Writes config.yaml on rank zero, and shows it to all loggers."""
        # Nulls are kept: one may stand where the default is something else. The option has had two names.
        keep = {"skip_unset" if RequirementCache("jsonargparse>=4.49") else "skip_none": False}
        self.parser.save(self.config, str(self.path), overwrite=True, multifile=self.multifile, **keep)
        written = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        for logger in trainer.loggers:
            logger.log_hyperparams(written)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Makes the folder first, on all ranks together."""
        self.path = make_run_directory(trainer) / self.config_filename
        super().setup(trainer, pl_module, stage)


class PadInvCLI(LightningCLI):
    """LightningCLI with padinv's module and data as the defaults, both replaceable by subclasses.

    Attributes:
        command: what starts a training, behind ``padinv``.
        presets_folder: where in the package the presets are.
        callbacks: those that every run has, by their keys in a config.
        defaults: of other options.
    """

    presets_folder: ClassVar[str] = "presets"
    command: ClassVar[str] = "fit"
    callbacks: ClassVar[dict[str, type[Callback]]] = {
        "schedule": ImageSchedule,
        "progress": ImageProgressBar,
        "pictures": ReconstructionPictures,
        "checkpoint": ModelCheckpoint,
        "last_checkpoint": LastCheckpoint,
        "report": RunReport,
        "writer": PredictionWriter,
    }
    defaults: ClassVar[dict[str, Any]] = {
        "model": {"class_path": "padinv.PadInvModule"},
        "data": {"class_path": "padinv.ImageDataModule"},
        "checkpoint.monitor": "val/mse",
        "checkpoint.filename": "images-{step:08d}",
        "checkpoint.auto_insert_metric_name": False,
        "checkpoint.save_on_train_epoch_end": False,
        "trainer.max_epochs": -1,  # ImageSchedule ends the run
        "trainer.plugins": [{"class_path": "padinv.training.SyncBatchNorm"}],  # of no effect on one device
    }

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses; Lightning's own would warn that ``args`` are given although the process has some, too."""
        self.config = parser.parse_args(cast(Sequence[str] | None, args))

    def _parse_ckpt_path(self) -> None:
        """Leaves the config as it is: Lightning would put whatever the checkpoint names in place of the model's."""

    def instantiate_classes(self) -> None:
        """Makes the model from the config; only if that says nothing of it, from what the checkpoint says it was."""
        subcommand = self.config["subcommand"]
        options = self.config[subcommand]
        path = options.get("ckpt_path")
        if subcommand != "fit" and path is not None and Path(path).is_file():
            changed = self._changed_arguments(options["model"])
            if changed is not None:
                module = self._restore_model(path, changed)
                self.parser.add_instantiator(lambda *_, **__: module, LightningModule, prepend=True)
        super().instantiate_classes()

    def _changed_arguments(self, model: Namespace) -> dict[str, Any] | None:
        """Those plain values of a model's that differ from the defaults; None if it has other parts than these."""
        default = self.parser.parse_args([self.config["subcommand"]])[self.config["subcommand"]]["model"]
        values, usual = ({**m.get("init_args", {}).as_dict(), **m.get("dict_kwargs", {})} for m in (model, default))
        changed = {name: value for name, value in values.items() if name not in usual or value != usual[name]}
        if model["class_path"] != default["class_path"] or any(isinstance(v, dict) for v in changed.values()):
            return None
        return changed

    def _restore_model(self, path: str, changed: dict[str, Any]) -> LightningModule:
        """Makes the model that a checkpoint says it was, of padinv's own classes alone; its weights come later."""
        saved = saved_arguments(LightningModule.CHECKPOINT_HYPER_PARAMS_KEY, path)
        name = saved.get("_class_path") if isinstance(saved, dict) else None
        default = self.defaults["model"]["class_path"]
        cls = next(
            found
            for found in (known_classes().get(str(name)), known_classes()[default])
            if isinstance(found, type) and issubclass(found, AlternatingModule)
        )
        module: LightningModule = cls(**{**build_arguments(saved, cls, path, without=changed), **changed})
        return module

    def before_instantiate_classes(self) -> None:
        """Reads checkpoints as tensors alone unless told otherwise: they may be somebody else's."""
        options = self.config[self.config["subcommand"]]
        if options.get("weights_only") is None:
            options["weights_only"] = True

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Silences the progress bar if it is not wanted: Lightning refuses one that is given all the same."""
        config = self.config_init[self.subcommand]
        if config["trainer"].get("enable_progress_bar") is False:
            config["progress"].disable()
            kwargs["enable_progress_bar"] = True
        return super().instantiate_trainer(**kwargs)

    def after_instantiate_classes(self) -> None:
        """Fails before anything is computed if it could not be done, or its results not be kept; keeps freed memory."""
        options = self.config[self.config["subcommand"]]
        if not self.model.automatic_optimization:
            for option, off, ours in (
                ("gradient_clip_val", 0, "clip_norm"),
                ("accumulate_grad_batches", 1, "accumulate"),
            ):
                if options["trainer"][option] not in (None, off):
                    raise ConfigError(f"trainer.{option} has no effect on two optimizers; set model.{ours} instead.")
        check_writable(self.trainer)
        self.trainer.callbacks.insert(0, StopAtSignals())  # type: ignore[attr-defined]  # before what validation does
        if options["keep_memory"] and self.trainer.strategy.root_device.type == "cpu":
            self.trainer.callbacks.append(KeepFreedMemory())  # type: ignore[attr-defined]  # Lightning's own way

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the callbacks that every run has, and sets the defaults."""
        for key, callback in self.callbacks.items():
            parser.add_lightning_class_args(callback, key)
        parser.add_argument(
            "--keep_memory",
            type=bool,
            default=True,
            help="On a CPU, keep freed memory for what comes next (padinv.cpu.memory).",
        )
        parser.set_defaults(self.defaults)


def main(args: Sequence[str], cli: type[PadInvCLI] = PadInvCLI) -> int:
    """Runs a subcommand of Lightning's.

    Args:
        args: the words behind ``padinv``.
        cli: the class that runs them.

    Returns:
        0; 143 or 130 if SIGTERM or Ctrl+C has stopped it.
    """
    # Lightning 2.6.6's own affair with torch >= 2.13; and each of our runs has a folder of its own.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
    warnings.filterwarnings("ignore", "The dirpath has changed from")
    try:
        cli(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_callback=RunConfigCallback,
            save_config_kwargs={"save_to_log_dir": False},
            parser_kwargs={"prog": "padinv", "description": "GAN inversion with padding space."},
            args=resolve_presets(args, cli.presets_folder),
        )
    except Stopped as stopped:
        if stopped.path is not None:
            config = stopped.path.parents[1] / "config.yaml"
            words = ["padinv", cli.command, *(["--config", str(config)] if config.is_file() else [])]
            print(f"Go on with: {shlex.join([*words, '--ckpt_path', str(stopped.path)])}", file=sys.stderr)
        return int(stopped.code or 0)
    except SystemExit as end:  # Lightning's own, where there was nothing to save
        if isinstance(end, SIGTERMException) or isinstance(end.__context__, KeyboardInterrupt):
            print("padinv: stopped.", file=sys.stderr)
            return 128 + (signal.SIGTERM if isinstance(end, SIGTERMException) else signal.SIGINT)
        raise
    return 0
