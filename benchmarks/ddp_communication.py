"""Two processes against one, and what of their time is communication.

python benchmarks/ddp_communication.py [--batch 8] [--steps 4]

:class:`padinv.PadInvModule` trains as the preset `quickstart` does: bundled generator, photographs, encoder and losses,
64 px. Every process has one core (one thread) and the same batch; two talk by gloo. The rows:

- one process;
- two apart: two processes side by side that know nothing of each other. What they lose to one process is not
  communication, but the memory and caches that two cores share;
- two, DDP: gradients averaged, BatchNorm over both, as `--trainer.devices 2` does it;
- two, DDP, BatchNorm of each: without :class:`padinv.training.SyncBatchNorm`;
- two, DDP, nothing averaged: nor are gradients sent. DDP's hook, which otherwise sums a bucket over the processes,
  hands it back as it is; all else that DDP does remains.

Each row has processes of its own; a run is `--steps` steps, of the five runs after a warm-up the median is told.
Communication is what DDP takes beyond two apart, as a share of its step; it includes waiting for the slower of the two.
What gradients take is the difference of the last two rows: only that part of it counts that computing does not hide.
The hook also counts the bytes. A bare all-reduce of as many bytes tells what a reckoning would expect of gradients.
"""

import argparse
import json
import os
import socket
import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from measuring import RUNS, in_own_process, seconds, table, write
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from padinv import ImageDataModule, PadInvEncoder, PadInvModule
from padinv.cpu import keep_freed_memory
from padinv.losses import DiscriminatorFeatureLoss
from padinv.training import ImageSchedule, SyncBatchNorm

WARM_UP = 3  # steps; DDP rebuilds its buckets after the first
ROWS: dict[str, dict[str, Any]] = {
    "one process": {"processes": 1},
    "two apart": {"processes": 2, "together": False},
    "two, DDP": {"processes": 2},
    "two, DDP, BatchNorm of each": {"processes": 2, "batchnorm": False},
    "two, DDP, nothing averaged": {"processes": 2, "batchnorm": False, "gradients": False},
}


@dataclass
class Traffic:
    """What DDP's hook does with gradients, and what it has seen of them."""

    send: bool
    bytes: int = 0


# torch reads these annotations: they must not be strings, hence no `from __future__ import annotations` here.
def hook(traffic: Traffic, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]  # mypy sees it not
    """Counts the bytes of a bucket, and sums it over the processes or not."""
    traffic.bytes += bucket.buffer().nbytes
    if traffic.send:
        return allreduce_hook(None, bucket)  # type: ignore[arg-type]  # None is the default group
    done: torch.futures.Future[Tensor] = torch.futures.Future()
    done.set_result(bucket.buffer())
    return done


class Clock(Callback):
    """Seconds of a step in each run, at whose beginning the processes wait for each other."""

    def __init__(self, steps: int, meet: Any, traffic: Traffic) -> None:
        self.steps, self.meet, self.traffic = steps, meet, traffic
        self.runs: list[float] = []

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if isinstance(trainer.strategy.model, DistributedDataParallel):  # Lightning registers hooks on GPUs only
            trainer.strategy.model.register_comm_hook(self.traffic, hook)

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx >= WARM_UP and (batch_idx - WARM_UP) % self.steps == 0:
            self.meet.wait()
            self.start = time.perf_counter()

    def on_train_batch_end(self, *arguments: Any) -> None:
        if (done := arguments[4] + 1 - WARM_UP) > 0 and done % self.steps == 0:
            self.runs.append((time.perf_counter() - self.start) / self.steps)


def work(rank: int, point: dict[str, Any], port: int, meet: Any, folder: str) -> None:
    """Trains in one process, and writes what it saw."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    keep_freed_memory()
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})
    together = point["processes"] > 1 and point.get("together", True)
    if together:
        os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    seed_everything(0, verbose=False)
    module = PadInvModule(
        encoder=partial(PadInvEncoder, resolution=64, depth=18, width=16, fpn_channels=64),
        perceptual_loss=DiscriminatorFeatureLoss("congress64"),
        lambda_per=0.1,
        lambda_reg=1e-4,
        clip_norm=1.0,
    )
    traffic = Traffic(point.get("gradients", True))
    clock = Clock(point["steps"], meet, traffic)
    steps = WARM_UP + RUNS * point["steps"]
    Trainer(
        accelerator="cpu",
        devices=point["processes"] if together else 1,
        strategy="ddp" if together else "auto",
        plugins=[SyncBatchNorm()] if point.get("batchnorm", True) else [],
        callbacks=[clock, ImageSchedule(steps * point["batch"] * (point["processes"] if together else 1))],
        max_epochs=-1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, ImageDataModule("congress64-train", resolution=64, batch_size=point["batch"], num_workers=0))
    gradients = sum(parameter.numel() for parameter in module.encoder.parameters())
    result: dict[str, Any] = {"runs": clock.runs, "bytes": traffic.bytes / steps, "gradients": 4 * gradients}
    result["batchnorms"] = sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
    if together:
        values = torch.zeros(gradients)
        result["bare"] = seconds(lambda: dist.all_reduce(values), warm_up=3)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(result))
    if together:  # a process that loses its group's store while it talks aborts
        dist.barrier()
        dist.destroy_process_group()


def measure(point: dict[str, Any]) -> dict[str, Any]:
    """What the slowest process saw: seconds a step, and the rest."""
    context = torch.multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
        free.close()
        meet = context.Barrier(point["processes"])
        spawn(work, (point, port, meet, folder), nprocs=point["processes"])
        results = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
    # Together the processes are as slow as the slower one; apart each has a rate of its own.
    runs = [statistics.fmean(steps) for steps in zip(*(result["runs"] for result in results), strict=True)]
    return {**results[0], "seconds": statistics.median(runs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8, help="images a process takes for a step")
    parser.add_argument("--steps", type=int, default=4, help="of a run")
    parser.add_argument("--point", type=json.loads, help="measure one row, and print JSON")
    options = parser.parse_args()
    if options.point is not None:
        print(json.dumps(measure(options.point)))
        return
    results, rows = {}, []
    for name, point in ROWS.items():
        results[name] = in_own_process(__file__, {**point, "batch": options.batch, "steps": options.steps})
        step, apart = results[name]["seconds"], results.get("two apart", results[name])["seconds"]
        rate = point["processes"] * options.batch / step
        row = {"": name, "s a step": f"{step:.3f}", "images/s": f"{rate:.2f}"}
        row["times one process"] = f"{rate * results['one process']['seconds'] / options.batch:.2f}"
        row["communication"] = f"{1 - apart / step:.1%}" if "DDP" in name else ""
        row["other processes"] = f"{results[name]['others']:.0%}"
        rows.append(row)
        print(row, flush=True)
    whole, each, nothing = (results[name]["seconds"] for name in list(ROWS)[2:])
    ddp = results["two, DDP"]
    text = (
        f"{options.batch} images a process.\n\n{table(rows)}\n\n"
        f"Gradients: {ddp['bytes'] / 1e6:.2f} MB a step, of {ddp['gradients'] / 1e6:.2f} MB of parameters, take "
        f"{(each - nothing) * 1e3:.1f} ms, {(each - nothing) / whole:.1%} of the step; a bare all-reduce of as many "
        f"{ddp['bare'] * 1e3:.1f} ms ({ddp['gradients'] / ddp['bare'] / 1e9:.2f} GB/s). "
        f"BatchNorm over both processes ({ddp['batchnorms']} layers): {(whole - each) * 1e3:.1f} ms, "
        f"{(whole - each) / whole:.1%}."
    )
    write("ddp_communication", "python benchmarks/ddp_communication.py", text)


if __name__ == "__main__":
    main()
