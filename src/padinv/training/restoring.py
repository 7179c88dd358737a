"""Modules that are saved with their arguments, and built again from a checkpoint that chooses no code."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pytorch_lightning import LightningModule
from pytorch_lightning.core.saving import load_hparams_from_yaml

from padinv.checkpoints.building import Bounded
from padinv.checkpoints.hyperparameters import build_arguments, forget_foreign_paths, read_run
from padinv.exceptions import CheckpointError
from padinv.training.resuming import check_checkpoint, checkpoint_in

if TYPE_CHECKING:
    from typing_extensions import Self

UNSAVED = "_unsaved"
"""The key in a checkpoint's hyper-parameters that names those it does not hold: networks, losses, functions."""


class RestorableModule(LightningModule):
    """A module whose checkpoints hold its plain arguments, and from which ``load_from_checkpoint`` builds it again."""

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | Path | IO[bytes],
        map_location: Any = None,
        hparams_file: str | Path | None = None,
        strict: bool | None = None,
        weights_only: bool | None = True,
        **kwargs: Any,
    ) -> Self:
        """Builds the module of a run again. The file chooses no code (:mod:`padinv.checkpoints.hyperparameters`).

        Args:
            checkpoint_path: a run's checkpoint, or its folder.
            map_location: as for ``torch.load``.
            hparams_file: a YAML file of arguments, instead of those in the checkpoint; the same classes may be in it.
            strict: whether all weights must be there.
            weights_only: False lets the file run any code that it holds.
            **kwargs: arguments that override the saved ones: those that are no plain values, and classes of your own.

        Returns:
            The module with the run's weights.

        Raises:
            CheckpointError: if the run was of another class, or the file asks for classes that are not padinv's.
        """
        if isinstance(checkpoint_path, str | Path):
            checkpoint_path = checkpoint_in(path) if (path := Path(checkpoint_path)).is_dir() else checkpoint_path
            check_checkpoint(str(checkpoint_path), weights_only=bool(weights_only))
        where, content = str(hparams_file or checkpoint_path), read_run(checkpoint_path, weights_only)
        if hparams_file is None:
            saved = content.get(cls.CHECKPOINT_HYPER_PARAMS_KEY) or {}
        else:
            saved = load_hparams_from_yaml(hparams_file, use_omegaconf=False)
        cls._ask_for_unsaved(saved, where, kwargs)
        with Bounded(content, where):
            arguments = build_arguments(saved, cls, where, without=kwargs)
            module = super().load_from_checkpoint(
                checkpoint_path,
                map_location,
                strict=strict,
                weights_only=weights_only,
                **{**arguments, **kwargs, "_instantiator": None},  # or jsonargparse would build classes
            )
        module.hparams.update({name: saved[name] for name in arguments})  # also those that are classes
        return module

    @classmethod
    def _ask_for_unsaved(cls, saved: Any, where: str, given: Mapping[str, Any]) -> None:
        """Raises CheckpointError if a network is neither among the saved arguments nor among those given."""
        unsaved = saved.get(UNSAVED, ()) if isinstance(saved, Mapping) else ()
        missing = [str(name) for name in unsaved if name not in given] if isinstance(unsaved, list | tuple) else []
        if {"generator", "discriminator", "encoder"} & set(missing):
            arguments = ", ".join(f"{name}=…" for name in missing)
            raise CheckpointError(
                f"{where} is of a run that was given {', '.join(missing)} as Python objects, which no checkpoint "
                f"holds: give them again, {cls.__name__}.load_from_checkpoint(…, {arguments})."
            )

    def keep_hyperparameters(self) -> None:
        """Saves the arguments of the class whose ``__init__`` calls this, and the names of those that cannot be saved.

        A checkpoint holds plain values only.
        """
        with warnings.catch_warnings():
            # Lightning advises against saving modules; they are taken out again below.
            warnings.filterwarnings("ignore", "Attribute .* is an instance of `nn.Module`")
            frame = inspect.currentframe()
            self.save_hyperparameters(logger=False, frame=frame.f_back if frame is not None else None)
        values = dict(self.hparams)
        unsaved = [name for name, value in values.items() if not is_plain(value)]
        self.remove_ignored_hparams(unsaved)
        usual = {name: given.default for name, given in inspect.signature(type(self)).parameters.items()}
        if unsaved := [name for name in unsaved if values[name] is not usual.get(name)]:
            self.hparams[UNSAVED] = unsaved

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps a file from choosing which files are deleted."""
        forget_foreign_paths(checkpoint)


def is_plain(value: Any) -> bool:
    """Whether a hyper-parameter can be in a checkpoint that is loaded with ``weights_only=True``."""
    if isinstance(value, Mapping):
        return all(map(is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)
