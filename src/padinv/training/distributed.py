"""Makes training on several processes the same as training on one process with all their batches."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm
from pytorch_lightning.strategies import DDPStrategy, ParallelStrategy, Strategy
from torch import Tensor, nn

from padinv.exceptions import ConfigError
from padinv.launching import launched_processes


def check_processes(trainer: Trainer) -> None:
    """Raises ConfigError if a launcher has started several processes, but the Trainer expects fewer."""
    launched = launched_processes()
    if launched is not None and launched.in_all != trainer.world_size:
        raise ConfigError(
            f"{launched.by} has started {launched.in_all} processes for this run, but its Trainer is one of "
            f"{trainer.world_size}: give trainer.devices {launched.on_this_node} and trainer.num_nodes "
            f"{max(1, launched.in_all // launched.on_this_node)}, or start as many processes as it has."
        )


def allow_unused_parameters(strategy: Strategy) -> None:
    """Makes DDP look for unused parameters in each backward pass, unless it was told otherwise.

    Alternating updates need it: in the backward pass of one network, plain ``ddp`` waits for gradients of both. This
    does what ``ddp_find_unused_parameters_true`` does, but keeps ``strategy: auto``, which one process and MPS need.
    """
    if isinstance(strategy, DDPStrategy):
        strategy._ddp_kwargs.setdefault("find_unused_parameters", True)  # read when the model is wrapped, after setup()


def synchronize_batchnorm(strategy: Strategy) -> None:
    """Makes a strategy of several processes convert BatchNorm layers at its setup, and back at its teardown.

    The command line and Python's ``Trainer(devices=8)`` then do the same, with any plugins.
    """
    if isinstance(strategy, ParallelStrategy) and type(strategy._layer_sync) in (type(None), TorchSyncBatchNorm):
        strategy._layer_sync = SyncBatchNorm()  # read when the model is wrapped, after setup()


class SyncBatchNorm(TorchSyncBatchNorm):
    """Lightning's plugin behind ``sync_batchnorm: true``, extended to CPUs, which torch's own layer refuses.

    With one process it changes nothing.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Replaces every BatchNorm layer by one that normalizes over the batches of all processes."""
        if not isinstance(model, LightningModule) or model.trainer.strategy.root_device.type != "cpu":
            return super().apply(model)
        for layer in model.modules():
            if type(layer) is nn.BatchNorm2d:
                layer.__class__ = GlobalBatchNorm2d
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Puts the original layers back."""
        for layer in model.modules():
            if type(layer) is GlobalBatchNorm2d:
                layer.__class__ = nn.BatchNorm2d  # type: ignore[assignment]  # its base, with the same attributes
        return super().revert(model)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """A BatchNorm2d that, in training mode, normalizes over all processes' batches. It adds no state."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes each channel of (B, C, H, W); all processes must call it."""
        if not self.training:
            return super().forward(x)
        axes = (0, 2, 3)
        values = x.float()  # half precision has too few digits for sums of squares
        count = sum_over_processes(values.new_tensor(x.numel() / x.shape[1]))
        mean = sum_over_processes(values.sum(axes)) / count
        centred = values - mean[:, None, None]
        variance = sum_over_processes(centred.square().sum(axes)) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach(), momentum)
            self.running_var.lerp_(variance.detach() * count / (count - 1), momentum)  # unbiased, as torch's
        y = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return y.to(x.dtype)


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of a tensor over all processes, on each of them; its gradient is the sum of theirs."""
    total: Tensor = _SumOverProcesses.apply(x)
    return total


class _SumOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _SumOverProcesses.forward(ctx, gradient)
