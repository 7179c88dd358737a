"""What trainings of two networks in turn have in common: steps by hand, counted in images, checked to be finite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.core.saving import load_hparams_from_yaml
from pytorch_lightning.plugins import TorchCheckpointIO
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor, nn

from padinv.checkpoints.hyperparameters import build_arguments, forget_foreign_paths, saved_arguments
from padinv.cpu import fuse_on_cpus
from padinv.exceptions import ConfigError, NonFiniteLossError
from padinv.training.last_checkpoint import WholeCheckpoints

if TYPE_CHECKING:
    from typing_extensions import Self


class AlternatingModule(LightningModule):
    """A module whose networks take turns under manual optimization, one step of each optimizer a batch.

    Args:
        clip_norm: clips the gradient of each network to this norm; None for not.
        channels_last: keeps weights and images in this order, which is faster on most devices.

    Attributes:
        images_seen: how many images the run has trained on, on all ranks together.
        signal: the number of a signal that this process was sent, 0 for none.
        agreed_signal: the same of any process, as of the last step.
        steps: how many batches.
        lambdas: weights of the terms of the losses; 1 for those that are not named.
    """

    images_seen: Tensor
    steps: Tensor
    lambdas: Mapping[str, float]

    def __init__(self, clip_norm: float | None = None, channels_last: bool = False) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.clip_norm = clip_norm
        self.channels_last = channels_last
        self.lambdas = {}
        self.signal, self.agreed_signal = 0, 0
        self.register_buffer("images_seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

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
        """Makes the module of a run anew. The file chooses no code (:mod:`padinv.checkpoints.hyperparameters`).

        Args:
            checkpoint_path: of a run.
            map_location: as for ``torch.load``.
            hparams_file: a YAML file of arguments, instead of those in the checkpoint; the same classes may be in it.
            strict: whether all weights must be there.
            weights_only: False lets the file run whatever it holds.
            **kwargs: arguments that go before the saved ones: those that are no plain values, and classes of your own.

        Returns:
            The module with the run's weights.

        Raises:
            CheckpointError: if the run was of another class, or the file asks for classes that are not padinv's.
        """
        if hparams_file is None:
            saved = saved_arguments(cls.CHECKPOINT_HYPER_PARAMS_KEY, checkpoint_path, weights_only)
        else:
            saved = load_hparams_from_yaml(hparams_file, use_omegaconf=False)
        arguments = build_arguments(saved, cls, str(hparams_file or checkpoint_path), without=kwargs)
        module = super().load_from_checkpoint(
            checkpoint_path,
            map_location,
            strict=strict,
            weights_only=weights_only,
            **{**arguments, **kwargs, "_instantiator": None},  # or Lightning would have jsonargparse make the classes
        )
        module.hparams.update({name: saved[name] for name in arguments})  # also those that are classes
        return module

    def on_validation_start(self) -> None:
        """Stops before validation, pictures and files of networks if the run has diverged."""
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.check_weights()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lets no run that has diverged replace its last good checkpoint."""
        if self._trainer is not None and self.trainer.state.fn == "fit":
            self.check_weights()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lets no file choose what is deleted."""
        forget_foreign_paths(checkpoint)

    def setup(self, stage: str) -> None:
        """Orders the weights of all networks; has checkpoints written whole."""
        if type(self.trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            self.trainer.strategy.checkpoint_io = WholeCheckpoints()
        if self.channels_last:
            self.to(memory_format=torch.channels_last)

    def on_train_start(self) -> None:
        """Speeds the optimizers up, here, where a resumed run has theirs, too."""
        for optimizer in self.optimizer_list():
            fuse_on_cpus(optimizer.optimizer)

    def order(self, images: Tensor) -> Tensor:
        """Lays out images (B, 3, H, W) as the weights are."""
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images

    def split_batch(self, images: Tensor, parts: int) -> list[Tensor]:
        """Deals images (B, 3, H, W) out in turn: the groups of the minibatch standard deviation stay the same."""
        return [images[i::parts] for i in range(min(parts, len(images)))]

    def take_step(
        self,
        optimizer: LightningOptimizer,
        losses: Callable[[int], dict[str, Tensor]],
        parts: Sequence[Tensor],
        batch: Mapping[str, Any],
    ) -> dict[str, Tensor]:
        """One optimizer step over all parts of a batch, with the other optimizers' networks frozen.

        Args:
            optimizer: whose networks learn.
            losses: the terms of a part, by its number.
            parts: of the batch.
            batch: for the names of its files.

        Returns:
            The batch mean of each term, unweighted.

        Raises:
            NonFiniteLossError: on all ranks, if a term is not finite on any.
        """
        total = sum(len(part) for part in parts)
        means: dict[str, Tensor] = {}
        with self.toggled_optimizer(optimizer):
            for i, part in enumerate(parts):
                terms = losses(i)
                share = len(part) / total
                loss = torch.stack([self.lambdas.get(name, 1.0) * term for name, term in terms.items()]).sum()
                self.check_finite(loss, terms, batch)
                with nullcontext() if i == len(parts) - 1 else self._no_sync():
                    self.manual_backward(loss * share)
                for name, term in terms.items():
                    means[name] = means.get(name, 0.0) + term.detach() * share
            optimizer.step()
            optimizer.zero_grad()
        return means

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clips here, where gradients are already unscaled under 16-mixed.

        Raises:
            ConfigError: if they are not, because the optimizer does it in its step.
        """
        if self.clip_norm is not None:
            scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
            if scaled and getattr(optimizer, "_step_supports_amp_scaling", False):
                raise ConfigError(
                    "clip_norm cannot clip what a fused optimizer unscales in its own step under 16-mixed: give "
                    f"{type(optimizer).__name__} fused=False, take bf16-mixed, or leave clip_norm out."
                )
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.clip_norm)

    def check_finite(self, loss: Tensor, terms: Mapping[str, Tensor], batch: Mapping[str, Any]) -> None:
        """Raises NonFiniteLossError, naming the step, the term and the batch's files, unless the loss is finite."""
        # Decided by all ranks: one that stopped by itself would leave the others waiting for it.
        notes = torch.tensor([not torch.isfinite(loss), self.signal], dtype=torch.int32, device=loss.device)
        not_finite, self.agreed_signal = self.trainer.strategy.reduce(notes, reduce_op="max").tolist()
        if not not_finite:
            return
        bad = next(((name, term.item()) for name, term in terms.items() if not torch.isfinite(term)), None)
        if bad is None:
            raise NonFiniteLossError(
                f"A loss is not finite {self._place()} on another process, which names the batch's files."
            )
        raise NonFiniteLossError(
            f"loss/{bad[0]} is {bad[1]} {self._place()}; the batch's files are "
            f"{', '.join(batch.get('name', ['unnamed']))}. {self._mend()}"
        )

    def check_weights(self) -> None:
        """Raises NonFiniteLossError on all ranks, naming the step and a weight, unless all weights are finite."""
        weights = {name: parameter.isfinite().all() for name, parameter in self.named_parameters()}
        weights |= {name: ~buffer.isnan().any() for name, buffer in self.named_buffers() if buffer.is_floating_point()}
        finite = bool(torch.stack([*weights.values()]).all()) if weights else True
        if not self.trainer.strategy.reduce_boolean_decision(finite):
            name = next((name for name, good in weights.items() if not good), "a weight of another process")
            raise NonFiniteLossError(f"{name} is not finite any more {self._place()}. {self._mend()}")

    def _place(self) -> str:
        return f"at step {int(self.steps)} ({int(self.images_seen)} images seen)"

    def _mend(self) -> str:
        paths = [getattr(callback, "path", None) for callback in self.trainer.checkpoint_callbacks]
        paths += [getattr(callback, "best_model_path", None) or None for callback in self.trainer.checkpoint_callbacks]
        kept = [path for path in (*paths, self.trainer.ckpt_path) if path is not None and Path(path).is_file()]
        where = f"The last good checkpoint is {kept[0]}. " if kept else ""
        return f"{where}Lower the learning rate, set clip_norm, or, under 16-mixed, use bf16-mixed."

    def log_at_images(self, values: Mapping[str, Any], batch_size: int = 1, *, sync_dist: bool = False) -> None:
        """Logs against images seen: Lightning takes the metric called "step" for the logger's axis."""
        self.log_dict({**values, "step": self.images_seen.float()}, batch_size=batch_size, sync_dist=sync_dist)

    def optimizer_list(self) -> list[LightningOptimizer]:
        """All optimizers, also if there is only one."""
        optimizers = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]

    def _no_sync(self) -> AbstractContextManager[None]:
        strategy = self.trainer.strategy
        return strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext()


def is_plain(value: Any) -> bool:
    """Whether a hyper-parameter can stand in a checkpoint that is loaded with ``weights_only=True``."""
    if isinstance(value, Mapping):
        return all(map(is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)
