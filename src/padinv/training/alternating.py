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
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor, nn

from padinv.checkpoints.hyperparameters import build_arguments, forget_foreign_paths, saved_arguments
from padinv.cpu import fuse_on_cpus
from padinv.exceptions import ConfigError, NonFiniteLossError

if TYPE_CHECKING:
    from typing_extensions import Self


class AlternatingModule(LightningModule):
    """A module whose networks take turns under manual optimization, one step of each optimizer a batch.

    Args:
        clip_norm: clips the gradient of each network to this norm; None for not.
        channels_last: keeps weights and images in this order, which is faster on most devices.

    Attributes:
        images_seen: how many images the run has trained on, on all ranks together.
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

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lets no file choose what is deleted."""
        forget_foreign_paths(checkpoint)

    def setup(self, stage: str) -> None:
        """Orders the weights of all networks."""
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
        if self.trainer.strategy.reduce_boolean_decision(bool(torch.isfinite(loss))):
            return
        where = f"at step {int(self.steps)} ({int(self.images_seen)} images seen)"
        bad = next(((name, term.item()) for name, term in terms.items() if not torch.isfinite(term)), None)
        if bad is None:
            raise NonFiniteLossError(f"A loss is not finite {where} on another process, which names the batch's files.")
        raise NonFiniteLossError(
            f"loss/{bad[0]} is {bad[1]} {where}; the batch's files are {', '.join(batch.get('name', ['unnamed']))}. "
            "Lower the learning rate, set clip_norm, or, under 16-mixed, use bf16-mixed."
        )

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
