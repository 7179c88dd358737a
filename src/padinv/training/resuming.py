"""Finds the checkpoint behind ``--ckpt_path``, the model that it describes, and the place for its results."""

from __future__ import annotations

import os
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from pytorch_lightning import LightningModule

from padinv.checkpoints import open_checkpoint
from padinv.checkpoints.building import Bounded
from padinv.checkpoints.hyperparameters import build_arguments, known_classes, read_run
from padinv.exceptions import CheckpointError, ConfigError

VERSIONED = ("CSVLogger", "TensorBoardLogger")
"""Loggers that number their runs' folders, ``save_dir/name/version_N``."""

RESULTS = {"validate": "validation", "test": "test"}
"""The folder into which each command writes its results."""

SHARDED = ("meta.pt", "latest", ".metadata", "checkpoint")
"""Files in a folder that is itself a checkpoint, as FSDP and DeepSpeed write them."""


def resolve_checkpoint(options: Namespace) -> None:
    """Replaces a command's ``ckpt_path`` by the path of a file.

    ``last`` is the ``last.ckpt`` of the newest run under this config's name, ``best`` the best checkpoint of that run.
    A run's folder, or its ``checkpoints``, stand for its ``last.ckpt``.

    Raises:
        ConfigError: if there is none.
    """
    given = options.get("ckpt_path")
    if given is None:
        return
    folder = runs_folder(options)
    if given in ("last", "best"):
        runs = sorted(folder.glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
        if not runs:
            raise ConfigError(f"ckpt_path is {given!r}, but no run under {folder} has a checkpoints/last.ckpt.")
        options["ckpt_path"] = str(runs[-1] if given == "last" else _best(runs[-1]))
    elif given == "hpc":
        if not list(Path(options["trainer"].get("default_root_dir") or ".").glob("hpc_ckpt_*.ckpt")):
            raise ConfigError(
                "ckpt_path is 'hpc', but there is no hpc_ckpt_N.ckpt, which Lightning writes when SLURM requeues a "
                "job, in trainer.default_root_dir; give last, or a run's folder."
            )
    elif Path(given).is_dir():
        options["ckpt_path"] = str(checkpoint_in(Path(given)))


def check_checkpoint(given: str, weights_only: bool = True) -> None:
    """Checks a checkpoint before anything is built for it.

    Args:
        given: the path; Lightning looks for what is no path of this machine.
        weights_only: False for files that may hold more than tensors, which are not checked.

    Raises:
        CheckpointError: if it is missing, damaged, or no run's.
    """
    path = Path(given)
    if given == "hpc" or "://" in given or given.startswith("registry:"):
        return
    if path.is_dir():
        return
    if not path.is_file():
        raise CheckpointError(
            f"There is no checkpoint {given}; give last, a run's folder, or a .ckpt file in its checkpoints folder."
        )
    if not weights_only:
        return
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises errors of any class for a damaged file
        open_checkpoint(path)  # says what the file is, unless it is a network
        raise CheckpointError(f"{given} is no checkpoint of a run, which Lightning writes as .ckpt.") from error
    if not isinstance(content, dict) or not {"state_dict", "pytorch-lightning_version"} <= set(content):
        raise CheckpointError(
            f"{given} is no checkpoint of a run, which Lightning writes as .ckpt. Networks of other files go behind "
            "--model.generator, --model.discriminator and --model.encoder_weights."
        )


def changed_arguments(model: Namespace, default: Namespace) -> dict[str, Any] | None:
    """The plain arguments of a model's config that differ from the defaults; None if others differ, too."""
    values, usual = ({**m.get("init_args", {}).as_dict(), **m.get("dict_kwargs", {})} for m in (model, default))
    changed = {name: value for name, value in values.items() if name not in usual or value != usual[name]}
    if model["class_path"] != default["class_path"] or any(isinstance(v, dict) for v in changed.values()):
        return None
    return changed


def restored_model(path: str, changed: dict[str, Any], default: str) -> LightningModule:
    """Makes the model that a checkpoint describes, from padinv's own classes alone; its weights come later.

    Args:
        path: the checkpoint.
        changed: the arguments that the user has chosen; they replace the checkpoint's.
        default: the name of the class for checkpoints that name none of padinv's.
    """
    content = read_run(path)
    saved = content.get(LightningModule.CHECKPOINT_HYPER_PARAMS_KEY) or {}
    name = saved.get("_class_path") if isinstance(saved, dict) else None
    cls = next(
        found
        for found in (known_classes().get(str(name)), known_classes()[default])
        if isinstance(found, type) and issubclass(found, LightningModule)
    )
    with Bounded(content, path):
        module: LightningModule = cls(**{**build_arguments(saved, cls, path, without=changed), **changed})
    return module


def place_results(command: str, options: Namespace) -> None:
    """Makes validate and test write beside the checkpoint, so that they do not use up a version.

    Results go to ``test`` (``validation``) in the run's folder, or to ``test_1`` and so on if that is taken. If there
    is no such folder, or it cannot be written to, they go to the folder of all runs of this name.

    Args:
        command: validate or test.
        options: the command's config, which is changed.
    """
    folder = runs_folder(options)
    if (given := options.get("ckpt_path")) is not None:
        checkpoints = Path(given).resolve().parent
        if checkpoints.name == "checkpoints" and os.access(checkpoints.parent, os.W_OK):
            folder = Path(os.path.relpath(checkpoints.parent))
    path = folder / RESULTS[command]
    numbered = chain([path], (path.with_name(f"{path.name}_{number}") for number in count(1)))
    target = next(path for path in numbered if not path.exists())
    loggers = options["trainer"].get("logger")
    if loggers in (None, True):
        options["trainer"]["logger"] = named("pytorch_lightning.loggers.CSVLogger", **_folder_of(target))
    elif loggers is False:
        options["trainer"]["logger"] = named("padinv.training.run.NoLogger", **_folder_of(target))
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if isinstance(logger, Namespace) and _short(logger) in VERSIONED and logger["init_args"].get("version") is None:
            for name, value in _folder_of(target).items():
                logger["init_args"][name] = value


def runs_folder(options: Namespace) -> Path:
    """The folder of a config's runs, ``save_dir/name`` of its first logger."""
    trainer = options["trainer"]
    root = trainer.get("default_root_dir") or "."
    loggers = trainer.get("logger")
    logger = loggers[0] if isinstance(loggers, list) and loggers else loggers
    if logger is False:
        return Path(root, "unlogged")
    if not isinstance(logger, Namespace):
        return Path(root, "lightning_logs")
    arguments = logger.get("init_args") or {}
    name = next((value for key in ("name", "project") if (value := arguments.get(key))), "lightning_logs")
    if _short(logger) == "WandbLogger":
        name = arguments.get("project") or "lightning_logs"
    return Path(arguments.get("save_dir") or arguments.get("dir") or root, str(name))


def _short(logger: Namespace) -> str:
    return str(logger["class_path"]).rpartition(".")[2]


def named(class_path: str, **arguments: Any) -> Namespace:
    """The form that a class has in a parsed config."""
    return Namespace(class_path=class_path, init_args=Namespace(**arguments))  # type: ignore[no-untyped-call]


def _folder_of(run: Path) -> dict[str, str]:
    """The options that give a logger's run this folder."""
    return {"save_dir": str(run.parent), "name": "", "version": run.name}


def checkpoint_in(folder: Path) -> Path:
    """The ``last.ckpt`` of a run's folder, or the folder itself if that is a checkpoint.

    Raises:
        ConfigError: if it is neither.
    """
    if any((folder / name).exists() for name in SHARDED):
        return folder
    found = [path for path in (folder / "checkpoints" / "last.ckpt", folder / "last.ckpt") if path.is_file()]
    if not found:
        runs = sorted(folder.glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
        hint = f"; one inside of it is {runs[-1].parent.parent}" if runs else ""
        raise ConfigError(f"{folder} has no checkpoints/last.ckpt, so it is no run to go on with{hint}.")
    return found[0]


def _best(last: Path) -> Path:
    """The best checkpoint at the time of last.ckpt, as the run's ModelCheckpoint says, wherever the run is now."""
    check_checkpoint(str(last))
    callbacks = torch.load(last, map_location="cpu", weights_only=True, mmap=True).get("callbacks", {})
    for state in callbacks.values():
        if isinstance(state, dict) and (name := state.get("best_model_path")):
            path = last.with_name(Path(str(name)).name)
            if path.is_file():
                return path
    raise ConfigError(f"ckpt_path is 'best', but {last.parent} has no best checkpoint; give last, or a file.")
