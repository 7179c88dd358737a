"""Tasks on the codes of photographs, and the options that they share; each command on photographs is a task."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from padinv.exceptions import ConfigError
from padinv.options import (
    LIMIT_OF_WORKERS,
    Command,
    OptionParser,
    add_options,
    check_options,
    file,
    folder,
    from_namespace,
    is_positional,
    option,
    options_of,
    resolutions,
    whole_number,
)
from padinv.typing import Precision

if TYPE_CHECKING:  # a command's help needs no torch
    from torch import Tensor

    from padinv.bulk.running import Report
    from padinv.codes import InversionCode
    from padinv.inversion.landmarks import Faces
    from padinv.networks import Generator

ACCELERATORS = {"auto": "auto", "cpu": "cpu", "cuda": "gpu", "mps": "mps"}
"""Device, by torch's name → Lightning's name."""

MOST_WORKERS = 8
"""The most decoding processes for a device: more would wait for its networks."""


def read_faces(text: str) -> Faces:
    """Reads what ``--faces`` takes: "largest", "all", or a number."""
    if text in ("largest", "all"):
        return text  # type: ignore[return-value]  # one of these two
    if not text.isdecimal():
        raise ArgumentTypeError(f"must be largest, all, or a number from 0 on, not {text.strip()!r}")
    return int(text)


@dataclass(frozen=True)
class BulkOptions:
    """Options of every command on photographs.

    Args:
        output: folder for the results.
        model: bundled model, checkpoint, or folder with generator.safetensors and encoder.safetensors.
        generator: file of the generator, if the model is an encoder alone, such as a run's checkpoint.
        sha256: SHA-256 of the model's file; an address https://… needs it.
        align: find the face, and paste the result back.
        landmarks: file with the points of the faces; no detector looks for faces then.
        detector: what finds faces: mtcnn, a model pack of InsightFace, a folder, or an .onnx file.
        faces: which faces of a photograph are taken.
        refine: optimize each code for N steps.
        refine_features: resolutions whose features are optimized, too (default: those of the encoder).
        device: auto, cpu, cuda, cuda:N or mps.
        devices: number of devices on each machine.
        num_nodes: number of machines.
        batch_size: photographs in the networks at once, on each device.
        precision: bits of the numbers in the networks.
        workers: processes that decode photographs (default: by the number of cores).
        keep_memory: on a CPU, keep freed memory for what comes next (:func:`padinv.cpu.keep_freed_memory`).
        overwrite: make results again that are there already.
        lpips: measure the LPIPS distance of each photograph, too.

    Raises:
        ConfigError: if a number is out of range, there is no such device or precision, or faces are to be chosen or
            found without alignment.
    """

    output: Path = option(read=folder, flags=("-o", "--output"), metavar="OUT", group="results")
    model: str = option("congress64", group="model")
    generator: str | None = option(None, metavar="FILE", rare=True, group="model")
    sha256: str | None = option(None, metavar="HEX", rare=True, group="model")
    align: bool = option(False, group="faces")
    landmarks: Path | None = option(None, file, metavar="JSON", rare=True, group="faces")
    detector: str = option("auto", metavar="PACK", rare=True, group="faces")
    faces: Faces = option("largest", read_faces, metavar="largest|all|N", rare=True, group="faces")
    refine: int = option(0, whole_number(0), metavar="N", group="model")
    refine_features: list[int] | None = option(None, resolutions, metavar="16|none", rare=True, group="model")
    device: str = option("auto", group="speed")
    devices: int = option(1, whole_number(1), metavar="N", rare=True, group="speed")
    num_nodes: int = option(1, whole_number(1), metavar="N", rare=True, group="speed")
    batch_size: int = option(16, whole_number(1), metavar="N", group="speed")
    precision: Precision = option("32", choices=get_args(Precision), rare=True, group="speed")
    workers: int | None = option(None, whole_number(0, LIMIT_OF_WORKERS), metavar="N", rare=True, group="speed")
    keep_memory: bool = option(
        True,
        flags=("--no-keep-memory",),
        rare=True,
        help="on a CPU, give freed memory back to the system at once, which is slower",
        group="speed",
    )
    overwrite: bool = option(False, group="results")
    lpips: bool = option(
        True, flags=("--no-lpips",), rare=True, help="leave the LPIPS distance out of metrics.jsonl", group="results"
    )

    def __post_init__(self) -> None:
        check_options(self)
        if not self.aligned and (self.faces, self.detector) != (BulkOptions.faces, BulkOptions.detector):
            raise ConfigError("--faces and --detector are for aligning: give --align, too, or --landmarks.")
        if self.refine_features is not None and self.refine == 0:
            raise ConfigError("--refine-features is for refining: give --refine, too.")
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

        from padinv.inversion.backends import find_device

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
        """The number of processes that decode; none for a single batch, which takes less time than their start."""
        if self.workers is not None:
            return self.workers
        cores = (os.cpu_count() or 1) // self.devices - 1
        return 0 if photographs <= self.batch_size else max(0, min(MOST_WORKERS, cores))


PHOTOGRAPHS = (
    "file, saved code (.safetensors, or latents: .pt, .npy, .npz), folder, pattern such as 'photos/*.jpg', zip file or "
    "bundled data set"
)


def reference(several: bool = False) -> Any:
    """A field that is one photograph, or saved code: :meth:`Task.prepare` gets its code."""
    many = ", or a folder of such files, whose mean is taken" if several else ""
    return option(help=f"file, or saved code (.safetensors, or latents: .pt, .npy, .npz){many}")


class Task(Command):
    """Leaves codes as they are. A subclass does something to them, and is a command of its own by :meth:`main`.

    A subclass with options is a dataclass: its fields are the options (:func:`padinv.options.option`), its docstring
    is their help, and the results depend on their values.

    Attributes:
        name: results of the same name and settings count as done; the class's name if not given.
        metavar: what the help calls the photographs.
        output_required: whether photographs and a folder for the results must be given.
        several: whether a reference may be several photographs; the mean of their codes is then its code.
        generator: on its device; there once :meth:`prepare` was called.
        codes: of the references, of one image each.
        pictures: images (3, H, W) of the references, which are drawn before each result.
    """

    generator: Generator
    codes: Sequence[InversionCode] = ()
    pictures: Sequence[Tensor] = ()

    name: ClassVar[str] = "task"
    metavar: ClassVar[str] = "PHOTO"
    output_required: ClassVar[bool] = True
    several: ClassVar[bool] = False

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.name = vars(cls).get("name", cls.__name__.lower())

    @classmethod
    def parser(cls) -> OptionParser:
        """Reads a command line: the task's options, the photographs, and the options that all tasks share."""
        parser = super().parser()
        nargs = "+" if cls.output_required else "*"
        parser.add_argument("photographs", metavar=cls.metavar, nargs=nargs, help=PHOTOGRAPHS)
        add_options(parser, BulkOptions, output={"required": cls.output_required})
        return parser

    def start(self, namespace: Namespace) -> int:
        """Does the task to the photographs that a command line names; returns 1 if one of them failed."""
        return self.run_on(namespace.photographs, from_namespace(BulkOptions, namespace))

    def run_on(self, photographs: Sequence[str], options: BulkOptions) -> int:
        """Does the task to photographs, tells what came of it, and returns the exit code."""
        from padinv.bulk.running import run  # imports torch and Lightning, so that misspelt options are told first

        report = run(self, photographs, options)
        if report.is_first:
            self.tell({"command": self.name, **report.as_json(), **self.outcome(report)})
        return report.exit_code

    @property
    def settings(self) -> dict[str, Any]:
        """The values, as JSON, on which results depend; results of other settings do not count as done."""
        own = options_of(type(self))
        return {each.name: getattr(self, each.name) for each in own if not is_positional(each)}

    @property
    def references(self) -> list[str]:
        """Photographs or saved codes that each process inverts first and gives to :meth:`prepare`."""
        return [getattr(self, each.name) for each in options_of(type(self)) if is_positional(each)]

    def begin(self, photographs: Sequence[str], options: BulkOptions) -> None:
        """Is called first, with what the user named.

        Raises:
            PadInvError: if the task cannot be done.
        """

    def check(self, generator: Generator) -> list[str]:
        """Is called before anything is encoded; checks the option ``layers``, if the task has one.

        Returns:
            Sentences that the user should read first.

        Raises:
            PadInvError: if the task cannot be done with this generator.
        """
        from padinv.editing import parse_layers

        parse_layers(getattr(self, "layers", None), generator.num_layers)
        return []

    def prepare(self, generator: Generator, references: Sequence[InversionCode]) -> None:
        """Is called once, when the networks are on their device, with a code of one image for each reference.

        Raises:
            PadInvError: if the task cannot be done with this generator or these codes.
        """
        import torch

        self.generator, self.codes = generator, references
        with torch.inference_mode():
            self.pictures = [generator.synthesis(*code.parts)[0].float() for code in references]

    def apply(self, code: InversionCode) -> InversionCode:
        """Turns the code of B photographs into the code of B results."""
        return code

    def facts(self, place: int) -> dict[str, float]:
        """Numbers for the record of a result, by its place in the batch that :meth:`apply` had last."""
        return {}

    def draw(self, generator: Generator, code: InversionCode, row: Sequence[Tensor]) -> Tensor:
        """Draws a result behind the images that it was made from; :attr:`pictures` come first.

        Args:
            generator: the generator.
            code: of the result, of one image.
            row: images (3, R, R) in [-1, 1]: the photograph, unless a saved code was given; its reconstruction; the
                result, unless it is that reconstruction.

        Returns:
            (3, H, W) in [0, 1].
        """
        import torch

        from padinv.pictures import contact_sheet

        return contact_sheet([torch.stack([*self.pictures, *row])])

    def outcome(self, report: Report) -> dict[str, Any]:
        """What ``--json`` says about the task, beside the photographs."""
        return {}

    def finish(self, report: Report) -> None:
        """Is called by the first process when all is done, before another command may write into the folder."""
