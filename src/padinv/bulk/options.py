"""How photographs are inverted, many at once, and where the results go."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from padinv.exceptions import ConfigError
from padinv.options import check_options, folder, option, whole_number
from padinv.typing import Precision

if TYPE_CHECKING:
    from padinv.inversion.landmarks import Faces

ACCELERATORS = {"auto": "auto", "cpu": "cpu", "cuda": "gpu", "mps": "mps"}
"""Names of devices here, which are torch's → Lightning's."""

MOST_WORKERS = 8
"""The most decoding processes for a device: more of them would only wait."""


def read_faces(text: str) -> Faces:
    """What ``--faces`` takes: "largest", "all", or a number."""
    if text in ("largest", "all"):
        return text  # type: ignore[return-value]  # one of these two
    if not text.isdecimal():
        raise ArgumentTypeError(f"must be largest, all, or a number from 0 on, not {text!r}")
    return int(text)


@dataclass(frozen=True)
class BulkOptions:
    """Options of every command on photographs.

    Args:
        output: folder for the results.
        model: name of a bundled model, folder with generator.safetensors and encoder.safetensors, or checkpoint.
        generator: the generator, if the model is an encoder alone, such as a run's checkpoint.
        sha256: of the model's file, which https://… needs.
        align: find the face, and paste the result back.
        landmarks: align by these, and look for none.
        detector: what finds faces: a model pack of InsightFace, a folder, or an .onnx file.
        faces: which faces of a photograph.
        refine: optimize each code for N steps.
        device: auto, cpu, cuda, cuda:N or mps.
        devices: how many of them.
        num_nodes: of a cluster.
        batch_size: photographs that go through the networks at once, on each device.
        precision: of the numbers in the networks.
        workers: processes that decode (default: as many as are of use).
        keep_memory: on a CPU, give freed memory back at once, which is slower.
        overwrite: make again what is already there.

    Raises:
        ConfigError: if a number is out of range, there is no such device or precision, or faces are to be chosen or
            found without alignment.
    """

    output: Path = option(read=folder, flags=("-o", "--output"), metavar="OUT", group="results")
    model: str = option("congress64", group="model")
    generator: str | None = option(None, metavar="FILE", group="model")
    sha256: str | None = option(None, metavar="HEX", group="model")
    align: bool = option(False, group="faces")
    landmarks: Path | None = option(None, Path, metavar="JSON", group="faces")
    detector: str = option("buffalo_l", metavar="PACK", group="faces")
    faces: Faces = option("largest", read_faces, metavar="largest|all|N", group="faces")
    refine: int = option(0, whole_number(0), metavar="N", group="model")
    device: str = option("auto", group="speed")
    devices: int = option(1, whole_number(1), metavar="N", group="speed")
    num_nodes: int = option(1, whole_number(1), metavar="N", group="speed")
    batch_size: int = option(16, whole_number(1), metavar="N", group="speed")
    precision: Precision = option("32", choices=get_args(Precision), group="speed")
    workers: int | None = option(None, whole_number(0), metavar="N", group="speed")
    keep_memory: bool = option(True, flags=("--no-keep-memory",), group="speed")
    overwrite: bool = option(False, group="results")

    def __post_init__(self) -> None:
        check_options(self)
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

        from padinv.inversion.inverter import find_device

        if self.device != "auto":
            find_device(self.device)
        if self.device == "cuda" and self.devices > (count := torch.cuda.device_count()):
            raise ConfigError(f"--devices must be {count} or less, as many as this machine has, not {self.devices}.")
        if self.precision == "16" and not torch.cuda.is_available():
            raise ConfigError("--precision 16 needs a CUDA device; use bf16 or 32.")

    def trainer_arguments(self) -> dict[str, Any]:
        """The arguments for Lightning's Trainer."""
        kind, _, number = self.device.partition(":")
        return {
            "accelerator": ACCELERATORS[kind],
            "devices": [int(number)] if number else self.devices,
            "num_nodes": self.num_nodes,
        }

    def num_workers(self, photographs: int) -> int:
        """The number of processes that decode: none for a single batch, since starting them takes longer."""
        if self.workers is not None:
            return self.workers
        cores = (os.cpu_count() or 1) // self.devices - 1
        return 0 if photographs <= self.batch_size else max(0, min(MOST_WORKERS, cores))
