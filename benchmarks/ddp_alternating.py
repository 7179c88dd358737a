"""Alternating updates under DDP: two backwards that each leave parameters unused, or one joint backward?

python benchmarks/ddp_alternating.py

Two gloo processes train the quickstart's networks with a discriminator. Within one run, rounds alternate between

- alternating: ``PadInvModule`` as it is, with ``find_unused_parameters``. Each of the two backwards traverses its graph
  for what is unused, and reduces the gradients of both networks;
- joint: plain DDP, one backward of loss_e + loss_d, D frozen while it scores the reconstruction. Gradients are the
  same, as both are taken before either step; but both graphs are in memory at once, and under 16-mixed the encoder's
  step may change the loss scale before the discriminator's gradients are unscaled by it;
- alternating, with buffers not broadcast at each step.

The digest shows that all three train the same weights. Speeds are of each round's fastest step, which tells most on a
machine that does other things, too; the range of the ratio over rounds tells how much.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import socket
import statistics
import sys
import time
import warnings
from collections import defaultdict
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from measuring import table, write
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from pytorch_lightning.strategies import DDPStrategy
from torch.multiprocessing.spawn import spawn

from padinv import ImageDataModule, PadInvEncoder, PadInvModule
from padinv.losses import DiscriminatorFeatureLoss
from padinv.training import ImageSchedule, SyncBatchNorm

WARM_UP = 3


class JointModule(PadInvModule):
    """The same training by one backward."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        images, discriminator = batch["image"], self.discriminator
        assert discriminator is not None
        discriminator.requires_grad_(False)
        code = self.encoder(images)
        reconstruction = self.reconstruct(code)
        terms = self.encoder_losses(code, reconstruction, images)
        discriminator.requires_grad_(True)
        terms |= self.discriminator_losses(reconstruction.detach(), images)
        self.manual_backward(torch.stack([self.lambdas.get(name, 1.0) * term for name, term in terms.items()]).sum())
        for optimizer in self.optimizer_list():
            optimizer.step()
            optimizer.zero_grad()
        self.images_seen += len(images) * self.trainer.world_size
        self.steps += 1

    def setup(self, stage: str) -> None:
        """Leaves plain DDP plain."""


VARIANTS: dict[str, tuple[type[PadInvModule], dict[str, Any]]] = {
    "alternating": (PadInvModule, {"find_unused_parameters": True}),
    "joint": (JointModule, {"find_unused_parameters": False}),
    "alternating, no broadcast": (PadInvModule, {"find_unused_parameters": True, "broadcast_buffers": False}),
}


class Clock(Callback):
    """Times of the steps behind the warm-up, and the memory that training needs at most (Linux)."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []
        gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL("libc.so.6").malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak

    def on_train_batch_start(self, *_: Any) -> None:
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())

    def step(self, times: list[float]) -> float:
        return min(b - a for a, b in pairwise(times[WARM_UP:]))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        status = Path("/proc/self/status").read_text() if sys.platform == "linux" else ""
        self.peak = next((int(line.split()[1]) / 1024 for line in status.splitlines() if "VmHWM" in line), float("nan"))


def work(rank: int, port: int, options: argparse.Namespace) -> None:
    """Runs all rounds in one of the two processes."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    results: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for _ in range(options.rounds):
        for name, (module_class, ddp) in VARIANTS.items():
            seed_everything(0, verbose=False)
            module = module_class(
                discriminator="congress64",
                encoder=partial(PadInvEncoder, resolution=64, depth=18, width=16),
                perceptual_loss=DiscriminatorFeatureLoss("congress64"),
                lambda_per=0.1,
                lambda_adv=0.03,
            )
            clock = Clock()
            Trainer(
                accelerator="cpu",
                devices=2,
                strategy=DDPStrategy(**ddp),
                plugins=[SyncBatchNorm()],
                callbacks=[clock, ImageSchedule(2 * options.batch * options.steps)],
                max_epochs=-1,
                limit_val_batches=0,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            ).fit(
                module,
                ImageDataModule("congress64-train", resolution=64, batch_size=options.batch, num_workers=0),
            )
            results[name].append((clock.step(clock.wall), clock.step(clock.cpu), clock.peak))
            if rank == 0:
                digest = sum(float(parameter.double().sum()) for parameter in module.parameters())
                print(f"{name:<26}digest {digest:.6f}", flush=True)
            del module
    if rank == 0:
        rows = []
        for name, runs in results.items():
            wall, cpu, peak = (statistics.median(values) for values in zip(*runs, strict=True))
            ratios = [base[0] / run[0] for base, run in zip(results["alternating"], runs, strict=True)]
            rows.append(
                {
                    "updates": name,
                    "images/s": f"{2 * options.batch / wall:.2f}",
                    "times as fast": f"{statistics.median(ratios):.3f}",
                    "from, to": f"{min(ratios):.3f}, {max(ratios):.3f}",
                    "CPU s a step": f"{cpu:.3f}",
                    "peak MiB": f"{peak:.0f}",
                }
            )
        write("ddp_alternating", "python benchmarks/ddp_alternating.py", table(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4, help="images a process takes for a step")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    spawn(work, (port, parser.parse_args()), nprocs=2)


if __name__ == "__main__":
    main()
