"""Makes training on several processes the same as training on one process with all their batches."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm
from pytorch_lightning.strategies import DDPStrategy, ParallelStrategy, Strategy
from torch import Tensor, nn

from padinv.exceptions import ConfigError


class Launched(NamedTuple):
    """Processes that a launcher has started for one run.

    Attributes:
        by: the launcher.
        in_all: number of processes.
        on_this_node: number of those on this node.
    """

    by: str
    in_all: int
    on_this_node: int


def launched_processes(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """The processes that torchrun or SLURM's srun has started; None for a process started by hand.

    >>> launched_processes({"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"})
    Launched(by='torchrun', in_all=16, on_this_node=8)
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        in_all = int(environment.get("WORLD_SIZE", 1))
        return Launched("torchrun", in_all, int(environment.get("LOCAL_WORLD_SIZE", in_all)))
    if "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        in_all = int(environment["SLURM_NTASKS"])
        nodes = int(environment.get("SLURM_NNODES", 1))
        each = environment.get("SLURM_NTASKS_PER_NODE", "")
        return Launched("SLURM", in_all, int(each) if each.isdecimal() else max(1, in_all // nodes))
    return None


CLUSTERS = ("FLUX_", "JSM_", "KUBERNETES_", "LSB_", "OMPI_", "PMI_", "SLURM_", "TORCHELASTIC_")
"""How variables of the environment begin that launchers of several machines set."""


def check_nodes(nodes: int, environment: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError for several machines of which nothing tells this one its number: it would wait for ever.

    >>> check_nodes(2, {"NODE_RANK": "0", "MASTER_ADDR": "10.0.0.1"})
    """
    told = any(name in ("GROUP_RANK", "MASTER_ADDR", "NODE_RANK") or name.startswith(CLUSTERS) for name in environment)
    if nodes > 1 and not told:
        raise ConfigError(
            f"num_nodes is {nodes}, but nothing tells this machine which of them it is: start the command on each of "
            "them with torchrun or srun, or set NODE_RANK and MASTER_ADDR."
        )


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
        values = x.float()
        count = sum_over_processes(values.new_tensor(x.numel() / x.shape[1]))
        mean = sum_over_processes(values.sum(axes)) / count
        centred = values - mean[:, None, None]
        variance = sum_over_processes(centred.square().sum(axes)) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach(), momentum)
            self.running_var.lerp_(variance.detach() * count / (count - 1), momentum)
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
