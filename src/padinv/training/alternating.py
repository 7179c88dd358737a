"""The base of trainings whose networks take turns: steps by hand, counts in images, checks that all is finite."""

from __future__ import annotations

import inspect
import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.plugins import TorchCheckpointIO
from pytorch_lightning.strategies import ParallelStrategy
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import get_ema_multi_avg_fn

from padinv.cpu import fuse_on_cpus
from padinv.exceptions import ConfigError, NonFiniteLossError
from padinv.training.callbacks.last_checkpoint import WholeCheckpoints
from padinv.training.callbacks.schedule import ImageSchedule
from padinv.training.distributed import check_processes
from padinv.training.restoring import RestorableModule

UNFIT_CALLBACKS: dict[type[Callback], str] = {
    StochasticWeightAveraging: "set model.ema_images",
    GradientAccumulationScheduler: "set model.accumulate",
    LearningRateFinder: "give the learning rate",
    BatchSizeFinder: "give data.batch_size",
    BackboneFinetuning: "freeze parameters in an encoder of your own",
}
"""Callbacks that work only where Lightning steps the optimizer, and what to do instead."""


class AlternatingModule(RestorableModule):
    """A module whose networks take turns under manual optimization, one step of each optimizer a batch.

    Args:
        clip_norm: clips the gradient of each network to this norm; None for no clipping.
        channels_last: keeps weights and images in this memory format, which is faster on most devices.

    Attributes:
        images_seen: how many images the run has trained on, on all ranks together.
        signal: the number of the signal that this process has received, 0 for none.
        agreed_signal: the same for all processes together, as of the last step.
        steps: how many batches.
        lambdas: weights of the losses' terms; 1 for terms that are not named.
    """

    images_seen: Tensor
    steps: Tensor
    lambdas: Mapping[str, float]

    def __init__(self, clip_norm: float | None = None, channels_last: bool = False) -> None:
        super().__init__()
        if clip_norm is not None and not 0 < clip_norm < math.inf:  # a negative one would turn gradients round
            raise ConfigError(f"clip_norm must be more than 0, or null for no clipping, not {clip_norm}.")
        if "lightning.pytorch" in sys.modules:
            warnings.warn(
                "lightning.pytorch is imported, too, but its Trainer refuses modules of pytorch_lightning, on "
                "which padinv builds: import Trainer and callbacks from pytorch_lightning.",
                stacklevel=3,
            )
        self.automatic_optimization = False
        self.clip_norm = clip_norm
        self.channels_last = channels_last
        self.lambdas = {}
        self.signal, self.agreed_signal = 0, 0
        self.register_buffer("images_seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def on_validation_start(self) -> None:
        """Stops before validation, pictures and files of networks if the run has diverged."""
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.check_weights()

    def on_validation_end(self) -> None:
        """Warns, before training, of callbacks that wait for a metric which the first validation did not measure."""
        measured = list(self.trainer.callback_metrics) if self.trainer.sanity_checking else []
        for callback in self.trainer.callbacks if measured else ():  # type: ignore[attr-defined]  # set by a connector
            monitor = callback.monitor if isinstance(callback, EarlyStopping | ModelCheckpoint) else None
            if monitor and monitor.startswith("val") and monitor not in measured:
                names = ", ".join(name for name in measured if name.startswith("val"))
                rank_zero_warn(
                    f"{type(callback).__name__} waits for {monitor}, but validation measures {names}.",
                    category=UserWarning,
                )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps a run that has diverged from replacing its last good checkpoint."""
        if self._trainer is not None and self.trainer.state.fn == "fit":
            self.check_weights()

    def configure_callbacks(self) -> list[Callback]:
        """Refuses callbacks that cannot work, and tells the Trainer how it validates before others ask. Adds none.

        Raises:
            ConfigError: if a callback needs Lightning's own optimization.
        """
        for callback in list(self.trainer.callbacks):  # type: ignore[attr-defined]  # set by a connector
            for kind, mend in UNFIT_CALLBACKS.items():
                if isinstance(callback, kind):
                    raise ConfigError(f"{kind.__name__} has no effect on networks that take turns: {mend}.")
            if isinstance(callback, LearningRateMonitor):
                rank_zero_info(
                    "The module logs learning rates itself, against images seen; LearningRateMonitor is off."
                )
                self.trainer.callbacks.remove(callback)  # type: ignore[attr-defined]
            if isinstance(callback, ImageSchedule):
                callback.announce(self.trainer)
        return []

    def setup(self, stage: str) -> None:
        """Orders weights in memory, makes checkpoints whole files, and refuses processes that would each train alone.

        Raises:
            ConfigError: if the Trainer would keep all numbers in another precision than float32.
        """
        check_processes(self.trainer)
        precision = str(self.trainer.precision)
        if precision.endswith("-true") and precision != "32-true":
            raise ConfigError(
                f"trainer.precision {precision} would keep averages, metrics and optimizers in that precision, too; "
                "take bf16-mixed, 16-mixed or 32-true."
            )
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]  # its batches end it; these are all optimizers' steps
            self.trainer.fit_loop.epoch_loop.max_steps = -1
        if type(self.trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            self.trainer.strategy.checkpoint_io = WholeCheckpoints()
        if self.channels_last:
            self.to(memory_format=torch.channels_last)

    def on_fit_start(self) -> None:
        """Refuses optimizers that cannot work, and logs the arguments, unless the command line logs its config.

        Raises:
            ConfigError: if an optimizer evaluates the loss in its step.
        """
        for optimizer in self.trainer.optimizers:
            closure = inspect.signature(type(optimizer).step).parameters.get("closure")
            again = closure is not None and closure.default is closure.empty
            if again or hasattr(optimizer, "second_step"):  # LBFGS; SAM and similar ones
                raise ConfigError(
                    f"{type(optimizer).__name__} computes the loss several times a step, which networks that take "
                    "turns do not offer; take an optimizer such as torch.optim.Adam."
                )
        if not any(isinstance(c, SaveConfigCallback) for c in self.trainer.callbacks):  # type: ignore[attr-defined]
            for logger in self.trainer.loggers:
                logger.log_hyperparams({"model": dict(self.hparams)})

    def on_train_start(self) -> None:
        """Fuses the optimizers. A resumed run has restored their state by now."""
        self._say_what_counts()
        for optimizer in self.optimizer_list():
            fuse_on_cpus(optimizer.optimizer)

    def _say_what_counts(self) -> None:
        """Warns, in a resumed run, of each option of an optimizer that the checkpoint has replaced.

        Raises:
            ConfigError: if the checkpoint's optimizer is of another class, whose options lack some of this one's.
        """
        for number, wrapped in enumerate(self.optimizer_list() if self.trainer.ckpt_path is not None else ()):
            optimizer = wrapped.optimizer
            group = optimizer.param_groups[0]
            if lacks := [name for name in optimizer.defaults if name not in group]:
                raise ConfigError(
                    f"Optimizer {number} is {type(optimizer).__name__}, but the checkpoint's is of another class, "
                    f"without {', '.join(lacks)}: give the run's own optimizer, or start anew with "
                    "model.encoder_weights (fit-gan: model.generator) in place of ckpt_path."
                )
            for name, configured in optimizer.defaults.items():
                restored = group.get("initial_lr", group["lr"]) if name == "lr" else group.get(name, configured)
                if name in ("foreach", "fused", "capturable") or _same(restored, configured):
                    continue
                rank_zero_warn(
                    f"{name} of optimizer {number} ({type(optimizer).__name__}) is {restored}, the checkpoint's, and "
                    f"not {configured}: a run that goes on keeps its optimizers and schedules. Other ones begin anew "
                    "with model.encoder_weights (fit-gan: model.generator) in place of ckpt_path.",
                    category=UserWarning,
                )

    def in_memory_format(self, images: Tensor) -> Tensor:
        """Lays out images (B, 3, H, W) in memory as the weights are."""
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images

    def split_batch(self, images: Tensor, parts: int) -> list[Tensor]:
        """Deals images (B, 3, H, W) out to parts in turn, which keeps the groups of the minibatch statistic."""
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
            optimizer: the one whose networks learn.
            losses: the terms of a part, by its number.
            parts: the parts of the batch.
            batch: the whole batch, for the names of its files.

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
                # DDP averages gradients over the processes once, with the last part.
                with nullcontext() if i == len(parts) - 1 else self._no_sync():
                    self.manual_backward(loss * share)
                for name, term in terms.items():
                    means[name] = means.get(name, 0.0) + term.detach() * share
            optimizer.step()
            optimizer.zero_grad()
        return means

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clips gradients, which are already unscaled here under 16-mixed.

        Raises:
            ConfigError: if they are not, because a fused optimizer unscales them in its step.
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
        # All ranks decide together: if one stopped by itself, the others would wait for it.
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

    def step_schedules(self, steps: int) -> None:
        """Steps the schedules of learning rates, except those that wait for a plateau."""
        for scheduler in self._schedulers():
            # A schedule of fixed length, as OneCycleLR, stays at its end; a further step would raise an error.
            end = getattr(scheduler, "total_steps", None) or math.inf
            for _ in range(0 if isinstance(scheduler, ReduceLROnPlateau) else steps):
                if scheduler.last_epoch + 1 < end:
                    scheduler.step()

    def step_plateaus(self, metrics: Mapping[str, Any]) -> None:
        """Shows a validation's metrics to the schedules that wait for a plateau."""
        for scheduler in self._schedulers():
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(metrics[monitored(scheduler)])

    def _schedulers(self) -> list[Any]:
        schedulers = self.lr_schedulers() or []
        return schedulers if isinstance(schedulers, list) else [schedulers]

    def optimizer_list(self) -> list[LightningOptimizer]:
        """All optimizers, also if there is only one."""
        optimizers = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]

    def _no_sync(self) -> AbstractContextManager[None]:
        strategy = self.trainer.strategy
        return strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext()


def made(name: str, make: Callable[..., Any], learner: Any) -> Any:
    """Makes an optimizer of parameters, or a schedule of an optimizer.

    Raises:
        ConfigError: if its class refuses the options it was given.
    """
    try:
        return make(learner)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} cannot be made with these options: {error}") from error


def monitored(scheduler: ReduceLROnPlateau) -> str:
    """The metric that a schedule waits for: PyTorch's class has none, Lightning's has."""
    return getattr(scheduler, "monitor", None) or "val/mse"


def _same(one: Any, other: Any) -> bool:
    return list(one) == list(other) if isinstance(one, list | tuple) else bool(one == other)


def average_decay(images: int, half_life: float, images_seen: int = 0, ramp_up: float | None = None) -> float:
    """How much of an average is left after a batch.

    Args:
        images: number of images in the batch.
        half_life: images after which half is left.
        images_seen: by the run so far.
        ramp_up: keeps the half-life below this share of the images seen, so that a generator from nothing soon
            forgets how it began; None for no ramp-up.

    Returns:
        0.5^(images / half-life).

    >>> average_decay(16, half_life=16, images_seen=0), average_decay(16, 1000, images_seen=320, ramp_up=0.05)
    (0.5, 0.5)
    """
    if ramp_up is not None:
        half_life = min(half_life, images_seen * ramp_up)
    return 0.5 ** (images / half_life) if half_life > 0 else 0.0


def moving_average(decay: float) -> Callable[..., None]:
    """Torch's function that moves averages towards parameters, average ← decay·average + (1 - decay)·parameter."""
    function: Callable[..., None] = get_ema_multi_avg_fn(decay)
    return function


def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Moves the parameters of an average towards a network's, average ← decay·average + (1 - decay)·network.

    Buffers are copied. They are constants, except the mean latent, which is an average already.
    """
    moving_average(decay)(list(average.parameters()), [parameter.detach() for parameter in network.parameters()], 0)
    for mine, theirs in zip(average.buffers(), network.buffers(), strict=True):
        mine.copy_(theirs)
