"""What benchmarks share: a process for each point, five runs after a warm-up, their median, and the machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer

RESULTS = Path(__file__).parent.parent / "results"
RUNS, WARM_UP = 5, 1

Point = Mapping[str, Any]


def seconds(step: Callable[[], object], runs: int = RUNS, warm_up: int = WARM_UP) -> float:
    """The median of five runs, after one to warm up."""
    return statistics.median([_timed(step) for _ in range(warm_up + runs)][warm_up:])


def _timed(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def set_up(module: LightningModule) -> None:
    """Sets a module up for steps of training on the CPU that are taken by hand."""
    module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)  # which setup asks
    module.setup("fit")


def megabytes(field: str = "VmRSS") -> float:
    """Resident memory of this process, in MiB; not a number where there is no /proc.

    Args:
        field: "VmRSS" for that of now, "VmHWM" for its peak, "RssFile" for what of it are pages of files: of libraries,
            as many as the kernel happens to have at hand, and all processes share them.

    Not by `getrusage`, whose peak a process inherits from the one that started it.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{field}:")) / 1024


def command_line(description: str | None) -> argparse.ArgumentParser:
    """The options of a script whose points are measured by :func:`in_own_process`: ``--threads`` and ``--point``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--point", type=json.loads, help="measure one point in this process, and print JSON")
    return parser


def in_own_process(script: str, point: Point) -> dict[str, Any]:
    """What `script --point JSON` prints in its last line, as JSON.

    Adds "others": how much of the machine other processes used meanwhile, from 0 to 1. Where that is not small, the
    rest is not to be trusted.
    """
    command = [sys.executable, script, "--point", json.dumps(point)]
    (busy, total), own = _machine_time(), _children_time()
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    (busy_after, total_after), own = _machine_time(), _children_time() - own
    others = (busy_after - busy - own) / (total_after - total) if total_after > total else float("nan")
    result: dict[str, Any] = {**json.loads(printed.splitlines()[-1]), "others": max(0.0, others)}
    return result


def _machine_time() -> tuple[float, float]:
    """Seconds that all cores were busy, and that they have had, since the machine was started; zeros without /proc."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    except OSError:
        return 0.0, 0.0
    user, nice, system, idle, waiting, *rest = (int(ticks) / os.sysconf("SC_CLK_TCK") for ticks in fields)
    busy = user + nice + system + sum(rest)
    return busy, busy + idle + waiting


def _children_time() -> float:
    times = os.times()
    return times.children_user + times.children_system


def machine() -> dict[str, Any]:
    """What the numbers depend on: processor, vector instructions, cores, torch."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    capability = torch.backends.cpu.get_cpu_capability()
    return {"cpu": f"{model}, {capability}", "cores": os.cpu_count(), "torch": torch.__version__}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same keys as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def read_table(name: str) -> list[dict[str, str]]:
    """The rows of the table in benchmarks/results/, none if there is none."""
    file = RESULTS / f"{name}.md"
    lines = file.read_text().splitlines() if file.exists() else []
    header, _, *rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")] or [[], []]
    return [dict(zip(header, row, strict=True)) for row in rows]


def write(name: str, command: str, text: str) -> None:
    """Prints a result, and writes it to benchmarks/results/ with the machine and the command it comes from."""
    about = "{cpu}, {cores} cores, torch {torch}".format_map(machine())
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(f"`{command}`\n\n{about}\n\n{text}\n")
    print(f"\n{about}\n\n{text}")
