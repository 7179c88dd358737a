"""Loads files in a process of its own, which says what each one took.

The process of the tests may keep the memory that it frees, for good, as users' processes do: a file that is loaded in
there may find its room already made, and would seem to take none.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import platform
import time
import traceback
import warnings
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import padinv
from padinv.exceptions import CheckpointError

PROCESS = Path("/proc/self")
LOADERS = ("load_generator", "load_discriminator", "load_encoder", "open_checkpoint")


@dataclass(frozen=True)
class Outcome:
    """What became of a file."""

    loaded: str | None
    """The class of what was loaded."""
    message: str
    """That of the CheckpointError, if it was refused."""
    seconds: float
    """Of the processor: a busy machine adds none."""
    taken: int
    """Bytes at the peak, above what there was before."""


class LoadingProcess:
    """Loads one file after the other; the tests that ask it are skipped where no peak of memory can be measured."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def load(self, path: Path, loader: str = "load_generator") -> Outcome:
        self.connection.send((path, loader))
        if not self.connection.poll(120):
            self.close()
            pytest.fail(f"{path} takes more than two minutes")
        answer = self.connection.recv()
        if answer is None:
            pytest.skip("the peak of a process's memory can only be reset on Linux")
        if isinstance(answer, str):
            pytest.fail(f"{loader} of {path} raises neither a CheckpointError nor nothing:\n{answer}")
        return answer

    def close(self) -> None:
        self.process.kill()
        self.process.join()


def _serve(connection: Connection) -> None:
    warnings.simplefilter("error")  # as for the tests
    for loader in LOADERS:  # imports what they need
        with contextlib.suppress(CheckpointError):
            getattr(padinv, loader)(Path(__file__))
    gc.freeze()  # what is there by now: to look through it for every file takes longer than most files
    while True:
        path, loader = connection.recv()
        try:
            connection.send(_measured(path, loader))
        except Exception:
            connection.send(traceback.format_exc())


def _measured(path: Path, loader: str) -> Outcome | None:
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)  # gives back what earlier files have left
    try:
        (PROCESS / "clear_refs").write_text("5")  # resets the peak
    except OSError:
        return None
    before, start = _bytes("VmRSS"), time.process_time()
    loaded, message = None, ""
    try:
        network = getattr(padinv, loader)(path)
        loaded = type(network).__name__
    except CheckpointError as error:
        message = str(error)
    return Outcome(loaded, message, time.process_time() - start, _bytes("VmHWM") - before)


def _bytes(field: str) -> int:
    lines = (PROCESS / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024
