"""``padinv fit | validate | test``: a LightningCLI over typed YAML configs.

``--config`` takes a file, or the name of a preset inside the package (:func:`presets`). Everything in a config is also
an option: ``padinv fit --config quickstart --model.lambda_per 0.5``.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from jsonargparse import Namespace
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping, ProgressBar, Timer
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.utilities.exceptions import SIGTERMException

from padinv.exceptions import ConfigError, PadInvError, nearest, reason
from padinv.help import TrainingHelp, presets
from padinv.launching import check_nodes, launched_processes
from padinv.options import Command
from padinv.training.callbacks.last_checkpoint import LastCheckpoint
from padinv.training.callbacks.process import KeepFreedMemory, StopAtSignals, Stopped
from padinv.training.callbacks.schedule import ImageSchedule
from padinv.training.configs import RunConfigCallback, resolve_presets
from padinv.training.distributed import check_processes
from padinv.training.module import PadInvModule
from padinv.training.parser import HelpAll, PadInvParser, about_class, about_trainer, is_lightnings, nearest_option
from padinv.training.resuming import (
    changed_arguments,
    check_checkpoint,
    named,
    place_results,
    resolve_checkpoint,
    restored_model,
)
from padinv.training.run import check_writable, claim_run, discard_run, run_directory

NUMBERING = (CSVLogger, TensorBoardLogger)
"""Loggers whose runs have folders ``version_N``."""

SWITCHES: dict[str, type] = {"enable_checkpointing": Checkpoint, "enable_progress_bar": ProgressBar}
"""Options of the Trainer that switch callbacks off."""


def callback(name: str, **arguments: Any) -> dict[str, Any]:
    """Describes a callback as a config does. ``--NAME null`` switches it off, ``--NAME CLASS`` replaces it."""
    return {"class_path": name, "init_args": arguments} if arguments else {"class_path": name}


def checkpoint(monitor: str) -> dict[str, Any]:
    """The callback that keeps the checkpoint with the smallest value of a metric."""
    return callback(
        "pytorch_lightning.callbacks.ModelCheckpoint",
        monitor=monitor,
        filename="images-{step:08d}",
        auto_insert_metric_name=False,
        save_on_train_epoch_end=False,
    )


class PadInvCLI(TrainingHelp, LightningCLI):
    """LightningCLI with padinv's module and data as the defaults, both replaceable by subclasses.

    ``PadInvCLI()`` runs the command of the process, ``PadInvCLI(args=["fit", "--config", "quickstart"])`` another, and
    ``PadInvCLI(run=False, args=["--config", "quickstart"])`` only makes ``model``, ``datamodule`` and ``trainer``.

    Args:
        model_class: the class of the model; any subclass can be named in a config.
        datamodule_class: the class of the data; any subclass can be named, too.
        args: words of a command line, or a config as a dictionary; the process's own words if not given.
        run: whether the first word is a command, which is run.
        **options: further options of LightningCLI.

    Attributes:
        callbacks: the callbacks of every run, by their keys in a config.
        defaults: the values of other options that are not given.
    """

    callbacks: ClassVar[dict[str, dict[str, Any]]] = {
        "schedule": callback("padinv.training.ImageSchedule"),
        "progress": callback("padinv.training.ImageProgressBar"),
        "pictures": callback("padinv.training.ReconstructionPictures"),
        "checkpoint": checkpoint("val/mse"),
        "last_checkpoint": callback("padinv.training.LastCheckpoint"),
        "report": callback("padinv.training.RunReport"),
    }
    defaults: ClassVar[dict[str, Any]] = {
        "model": {"class_path": "padinv.PadInvModule"},
        "data": {"class_path": "padinv.ImageDataModule"},
        "trainer.max_epochs": -1,  # ImageSchedule ends the run
    }

    def __init__(
        self,
        model_class: Any = LightningModule,
        datamodule_class: Any = LightningDataModule,
        *,
        args: ArgsType = None,
        run: bool = True,
        **options: Any,
    ) -> None:
        settings: dict[str, Any] = {
            "subclass_mode_model": True,
            "subclass_mode_data": True,
            "auto_configure_optimizers": False,
            "seed_everything_default": 0,
            "save_config_callback": RunConfigCallback,
            "save_config_kwargs": {"save_to_log_dir": False},
            "parser_class": PadInvParser,
            "parser_kwargs": {"prog": "padinv", "description": "GAN inversion with padding space."},
        }
        # Lightning 2.6.6 itself, with torch >= 2.13; and each run has a folder of its own here.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "The dirpath has changed from")
        words = sys.argv[1:] if args is None else args
        self.called = words[:1] if isinstance(words, list) else []
        super().__init__(model_class, datamodule_class, args=args, run=run, **{**settings, **options})

    @property
    def options(self) -> Namespace:
        """The config of the command, or the whole config if there is no command."""
        options: Namespace = self.config.get(str(self.config.get("subcommand")), self.config)
        return options

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # Lightning asks the object alone
        """Lightning's commands, except predict: padinv invert does that, for photographs of any kind.

        Only the called command is described, since each takes a tenth of a second.
        """
        known = {name: skipped for name, skipped in LightningCLI.subcommands().items() if name != "predict"}
        return {name: known[name] for name in self.called if name in known} or known

    # Parsing --------------------------------------------------------------------------------------------------------

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses the words. Lightning's own method would warn if ``args`` are given and the process has some, too."""
        if isinstance(args, dict | Namespace):
            self.words: list[str] = []
            self.config = parser.parse_object(args)
        else:
            words = sys.argv[1:] if args is None else args
            if odd := next((word for word in words if word != word.encode(errors="replace").decode()), None):
                raise ConfigError(f"{odd} has bytes that are no UTF-8, which a config cannot hold: rename the file.")
            self.words = resolve_presets(words, self.presets_folder)
            for name, each in {"": parser, **getattr(self, "_subcommand_parsers", {})}.items():
                each.words, each.prog = self.words, self.program(name)
            self._ask_for_config(parser)
            try:
                self.config = parser.parse_args(self.words)
            except ConfigError as error:
                raise self._hinted(error) from error
        command, options = self.config.get("subcommand"), self.options
        options.pop("writer", None)
        seed = options.get("seed_everything")
        if type(seed) is int and not 0 <= seed < 2**32:
            raise ConfigError(f"seed_everything must be from 0 to {2**32 - 1}, not {seed}.")
        resolve_checkpoint(options)
        if command not in (None, "fit"):
            place_results(command, options)
        self._match_launcher(options["trainer"])
        trainer = options["trainer"]
        if trainer["logger"] in (False, []) and not trainer["fast_dev_run"] and not trainer["barebones"]:
            folder = str(trainer["default_root_dir"] or ".")
            trainer["logger"] = named("padinv.training.run.NoLogger", save_dir=folder)

    def _ask_for_config(self, parser: LightningArgumentParser) -> None:
        """Raises ConfigError if nothing says what to train."""
        asks = ("--config", "-c", "--model", "--data", "--ckpt_path", "-h", "--help", "--print_config")
        if not any(word.startswith(asks) for word in self.words):
            first = next(iter(self.words), "")
            command = getattr(self, "_subcommand_parsers", {}).get(first, parser)
            called = self.program("" if first.startswith("-") else first)
            for option in (word.partition("=")[0] for word in self.words if word.startswith("--")):
                if option.partition(".")[0] in command._option_string_actions:
                    continue
                if near := nearest(option, asks, cutoff=0.7) or nearest_option(option, command):
                    raise ConfigError(f"There is no option {option}; the nearest is {near}.")
            raise ConfigError(
                f"{called} has to be told what to do: give --config and a preset "
                f"({', '.join(presets(self.presets_folder))}), a YAML file, or a run's config.yaml; "
                f"{called} --help tells more."
            )

    def _hinted(self, error: PadInvError) -> PadInvError:
        """Adds a hint to the error if no config was named, as the user may have forgotten it."""
        if not self.words or any(word.startswith(("--config", "-c")) for word in self.words):
            return error
        first = self.examples[0]
        return type(error)(f"{str(error).rstrip('.')}. There is no --config; {first} is one to start from.")

    def _match_launcher(self, trainer: Namespace) -> None:
        """Takes as many devices as torchrun or srun has started processes, unless told otherwise."""
        launched = launched_processes()
        if launched is not None and trainer.get("devices") == "auto":
            trainer["devices"] = launched.on_this_node
            if trainer.get("num_nodes") == 1:
                trainer["num_nodes"] = launched.in_all // launched.on_this_node
        if not trainer.get("plugins"):  # which may know the machines
            check_nodes(trainer.get("num_nodes") or 1)

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """Gives the command its short help."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        assert isinstance(parser, PadInvParser)
        parser.summary = self.summary(subcommand)
        parser.add_argument("--help-all", action=HelpAll, help="Show all options and exit.")
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the callbacks that every run has, and sets the defaults."""
        for key in self.callbacks:
            parser.callback_keys.append(key)
            parser.add_subclass_arguments(Callback, key, required=False, fail_untyped=False)
        parser.add_argument(
            "--keep_memory",
            type=bool,
            default=True,
            help="On a CPU, keep freed memory for what comes next (padinv.cpu.memory).",
        )
        parser.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help="Print JSON alone, what was measured and where files are; all else goes to stderr.",
        )
        # configs of earlier runs have the options of the former padinv predict
        parser.add_argument("--writer", type=Any, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        own = {"model": self.subclass_mode_model, "data": self.subclass_mode_data}
        parser.set_defaults({**{k: v for k, v in self.defaults.items() if own.get(k, True)}, **self.callbacks})

    def _parse_ckpt_path(self) -> None:
        """Leaves the config as it is: Lightning would replace the model's arguments by those in the checkpoint."""

    # Making what runs -----------------------------------------------------------------------------------------------

    def before_instantiate_classes(self) -> None:
        """Reads checkpoints as tensors alone unless told otherwise, since they may come from anybody."""
        options = self.options
        if "weights_only" in options and options["weights_only"] is None:
            options["weights_only"] = True
        if options.get("ckpt_path") is not None:
            check_checkpoint(options["ckpt_path"], weights_only=bool(options["weights_only"]))

    def instantiate_classes(self) -> None:
        """Makes data, model and Trainer, or raises one sentence.

        The config says what the model is. Only if it says nothing, the checkpoint does.
        """
        path = self.options.get("ckpt_path")
        if self.config.get("subcommand") not in (None, "fit") and path is not None and Path(path).is_file():
            command = self.config["subcommand"]
            default = self.parser.parse_args([command])[command]["model"]
            changed = changed_arguments(self.options["model"], default)
            if changed is not None:
                module = restored_model(path, changed, self.defaults["model"]["class_path"])
                self.parser.add_instantiator(lambda *_, **__: module, LightningModule, prepend=True)
        try:
            super().instantiate_classes()
        except Exception as error:
            own = reason(error)
            if own is None and isinstance(error, ValueError) and (sentence := about_class(error, self.words)):
                own = ConfigError(sentence)
            if own is None:
                raise
            raise self._hinted(own) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Makes the Trainer, with the run's callbacks that are switched on."""
        options = self.config_init.get(str(self.subcommand), self.config_init)
        trainer = {**options["trainer"], **kwargs}
        own = [options[key] for key in self._parser(self.subcommand).callback_keys if options[key] is not None]
        if trainer.get("barebones"):  # Lightning refuses anything else
            own = [callback for callback in own if isinstance(callback, ImageSchedule)]
            unset = ("logger", "log_every_n_steps", "num_sanity_val_steps", "enable_model_summary")
            trainer |= dict.fromkeys(unset)
            self.save_config_callback = None
        if trainer.get("callbacks") is not None and not isinstance(trainer["callbacks"], list):
            trainer["callbacks"] = [trainer["callbacks"]]
        unwanted = [kind for option, kind in SWITCHES.items() if trainer.get(option) is False]
        unwanted += [ProgressBar if isinstance(c, ProgressBar) else type(c) for c in trainer.get("callbacks") or ()]
        own = [callback for callback in own if not any(_replaces(kind, callback) for kind in unwanted)]
        for option, kind in SWITCHES.items():
            if not any(isinstance(c, kind) for c in [*own, *(trainer.get("callbacks") or ())]):
                trainer[option] = False  # or Lightning would add one of its own
        try:
            return self._instantiate_trainer(trainer, own)
        except Exception as error:  # its checks raise errors of any class
            raise reason(error) or ConfigError(about_trainer(error, trainer)) from error

    def after_instantiate_classes(self) -> None:
        """Checks, before anything is computed, that the run can work and write its results; keeps freed memory."""
        options = self.options
        if not self.model.automatic_optimization:
            for option, ours in {"gradient_clip_val": "clip_norm", "accumulate_grad_batches": "accumulate"}.items():
                if options["trainer"][option] not in (None, 0 if ours == "clip_norm" else 1):
                    raise ConfigError(f"trainer.{option} has no effect on two optimizers; set model.{ours} instead.")
        ends = (ImageSchedule, EarlyStopping, Timer)
        endless = self.trainer.max_epochs == -1 and self.trainer.max_steps == -1
        if self.subcommand == "fit" and endless and not any(isinstance(c, ends) for c in self.trainer.callbacks):  # type: ignore[attr-defined]
            raise ConfigError("Nothing would end this run: give --schedule.images, --trainer.max_epochs or max_time.")
        check_processes(self.trainer)
        self._refuse_random_weights()
        check_writable(self.trainer)
        self.trainer.callbacks.insert(0, StopAtSignals())  # type: ignore[attr-defined]  # before what validation does
        if options["keep_memory"] and self.trainer.strategy.root_device.type == "cpu":
            self.trainer.callbacks.append(KeepFreedMemory())  # type: ignore[attr-defined]  # Lightning's own way

    def _refuse_random_weights(self) -> None:
        """Raises ConfigError if the encoder to measure has random weights."""
        command, options = self.subcommand, self.options
        if command in (None, "fit") or options["ckpt_path"] is not None or self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if isinstance(self.model, PadInvModule) and not self.model.hparams.get("encoder_weights"):
            raise ConfigError(
                f"padinv {command} needs a checkpoint, or it measures an encoder that has learned nothing: give "
                "--ckpt_path last, a run's folder or a .ckpt file; or --model.encoder_weights."
            )

    # Running --------------------------------------------------------------------------------------------------------

    def _run_subcommand(self, subcommand: str) -> None:
        """Runs the command; a run that has made no step leaves no folder."""
        folder, is_new = claim_run(self.trainer) if isinstance(self.trainer.logger, NUMBERING) else (Path(), False)
        try:
            super()._run_subcommand(subcommand)
        except BaseException as error:
            saved = next((c for c in self.trainer.callbacks if isinstance(c, RunConfigCallback)), None)  # type: ignore[attr-defined]
            if saved is not None and is_new and not saved.worked:
                discard_run(self.trainer, folder)
            if isinstance(error, Exception) and is_lightnings(error):
                raise ConfigError(about_trainer(error, dict(self.options["trainer"]))) from error
            raise

    def results(self) -> dict[str, Any]:
        """What was measured last, and where the run's files are; None for what there is not."""
        trainer, command, options = self.trainer, str(self.subcommand), self.options
        checkpoint, best = options["ckpt_path"], None
        if command == "fit":
            last = next((c.path for c in trainer.checkpoint_callbacks if isinstance(c, LastCheckpoint)), None)
            checkpoint = last if last is not None and last.is_file() else None
            best = getattr(trainer.checkpoint_callback, "best_model_path", None) or None
        return {
            "command": self.program(command).removeprefix("padinv "),
            "folder": folder if (folder := run_directory(trainer)).is_dir() and not trainer.fast_dev_run else None,  # type: ignore[attr-defined]
            "checkpoint": checkpoint or options["model"].get("init_args", {}).get("encoder_weights"),
            "best": best,
            "images_seen": int(getattr(self.model, "images_seen", 0)),
            "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
        }


def _replaces(kind: type, callback: Callback) -> bool:
    """Whether a user's callback, or a flag, replaces one of the run's own."""
    return isinstance(callback, kind) or (issubclass(kind, type(callback)) and type(callback) is not Callback)


def run_command(command: str, args: Sequence[str], cli: type[PadInvCLI] = PadInvCLI) -> int:
    """Runs a command of Lightning's.

    Args:
        command: fit, validate or test.
        args: the words behind it. With ``--json`` stdout is for one object, :meth:`PadInvCLI.results`.
        cli: the class that runs it.

    Returns:
        0; 143 or 130 if SIGTERM or Ctrl+C has stopped it.
    """
    teller, words = Command(), [word for word in args if word != "--json"]
    try:
        with teller.telling(argparse.Namespace(json="--json" in args)):
            run = cli(args=[command, *words])
            results = run.results()  # on every process: they agree on the folder
            teller.tell(results if run.trainer.is_global_zero else [])
    except Stopped as stopped:
        if stopped.path is not None:
            config = stopped.path.parents[1] / "config.yaml"
            words = ["padinv", cli.command, *(["--config", str(config)] if config.is_file() else [])]
            print(f"Go on with: {shlex.join([*words, '--ckpt_path', str(stopped.path)])}", file=sys.stderr)
        return int(stopped.code or 0)
    except SystemExit as end:  # Lightning's own exit, when there was nothing to save
        if isinstance(end, SIGTERMException) or isinstance(end.__context__, KeyboardInterrupt):
            print("padinv: stopped.", file=sys.stderr)
            return 128 + (signal.SIGTERM if isinstance(end, SIGTERMException) else signal.SIGINT)
        raise
    return 0


fit, validate, test = (partial(run_command, command) for command in ("fit", "validate", "test"))
