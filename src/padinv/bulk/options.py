"""How photographs are inverted, many at once, and where the results go."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from padinv.exceptions import ConfigError
from padinv.inversion.inverter import find_device
from padinv.inversion.landmarks import Faces
from padinv.typing import Precision

ACCELERATORS = {"auto": "auto", "cpu": "cpu", "cuda": "gpu", "mps": "mps"}
"""Our devices, which are torch's, and Lightning's."""

MOST_WORKERS = 8
"""What is of use for one device: more would only wait."""


@dataclass(frozen=True)
class BulkOptions:
    """Options of every command on photographs.

    Args:
        output: folder for the results.
        model: name, folder or file for :meth:`padinv.Inverter.from_pretrained`.
        align: find the face in each photograph, and paste the result back.
        landmarks: a JSON file of landmarks to align by, instead of finding them; implies ``align``.
        detector: what finds faces, for :class:`padinv.inversion.FaceDetector`: a pack of InsightFace's, folder or file.
        faces: "largest", "all" or a number: which of the faces in a photograph.
        refine: steps of optimization for each code.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        devices: how many of them.
        num_nodes: nodes of a cluster, each with as many devices; ``output`` must be a folder that all of them see.
        batch_size: photographs that go through the networks at once, on each device.
        precision: "32", "bf16" or "16".
        workers: processes that decode photographs, for each device; chosen if not given.
        keep_memory: on a CPU, keep freed memory for what comes next (:func:`padinv.cpu.keep_freed_memory`).
        overwrite: make again what is already there.

    Raises:
        ConfigError: if a number is out of range, there is no such device or precision, or faces are to be chosen or
            found without alignment.
    """

    output: Path
    model: str = "congress64"
    align: bool = False
    landmarks: Path | None = None
    detector: str = "buffalo_l"
    faces: Faces = "largest"
    refine: int = 0
    device: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    batch_size: int = 16
    precision: Precision = "32"
    workers: int | None = None
    keep_memory: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name, least in (("refine", 0), ("devices", 1), ("num_nodes", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"--{name.replace('_', '-')} must be {least} or more, not {getattr(self, name)}.")
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"--workers must be 0 or more, not {self.workers}.")
        if self.precision not in (precisions := get_args(Precision)):
            raise ConfigError(f"--precision must be one of {', '.join(precisions)}, not {self.precision!r}.")
        if not self.aligned and (self.faces, self.detector) != (BulkOptions.faces, BulkOptions.detector):
            raise ConfigError("--faces and --detector are for aligning: give --align, too, or --landmarks.")
        kind, _, number = self.device.partition(":")
        if kind not in ACCELERATORS or (number and (kind != "cuda" or not number.isdecimal() or self.devices > 1)):
            raise ConfigError(
                f"--device must be one of {', '.join(ACCELERATORS)}, or cuda:N for a single one, not {self.device!r}."
            )

    @property
    def aligned(self) -> bool:
        """Whether faces are aligned."""
        return self.align or self.landmarks is not None

    def check_device(self) -> None:
        """Raises ConfigError if this machine does not have the device, or it cannot compute with the precision."""
        import torch

        if self.device != "auto":
            find_device(self.device)
        if self.device == "cuda" and self.devices > (count := torch.cuda.device_count()):
            raise ConfigError(f"--devices must be {count} or less, as many as this machine has, not {self.devices}.")
        if self.precision == "16" and not torch.cuda.is_available():
            raise ConfigError("--precision 16 needs a CUDA device; use bf16 or 32.")

    def trainer_arguments(self) -> dict[str, Any]:
        """What Lightning's Trainer needs to know of it."""
        kind, _, number = self.device.partition(":")
        return {
            "accelerator": ACCELERATORS[kind],
            "devices": [int(number)] if number else self.devices,
            "num_nodes": self.num_nodes,
        }

    def num_workers(self, photographs: int) -> int:
        """How many processes decode: none for one batch, since starting them takes longer."""
        if self.workers is not None:
            return self.workers
        cores = (os.cpu_count() or 1) // self.devices - 1
        return 0 if photographs <= self.batch_size else max(0, min(MOST_WORKERS, cores))
