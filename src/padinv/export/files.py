"""Writes parts to files, and reads what the files say of themselves."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from padinv.exceptions import CheckpointError, MissingPackageError
from padinv.export.operators import CONVOLUTIONS, RESIZING, Replacing
from padinv.export.parts import Part
from padinv.export.quantization import describe, loss_of_quality, quantize
from padinv.export.session import METADATA_KEY, Description, Session
from padinv.files import writing
from padinv.typing import PathLike

DESCRIPTION_FILE = f"{METADATA_KEY}.json"
"""Name of the description inside a .pt2."""


def export_torch(part: Part, path: PathLike) -> Description:
    """Writes a program of ``torch.export``, which ``torch.export.load(path).module()`` runs without padinv.

    Args:
        part: of :func:`encoder_part`, :func:`generator_part` or :func:`joined_part`.
        path: the file, ending in .pt2.

    Returns:
        What the file says of itself.

    Raises:
        CheckpointError: if the file cannot be written, or has another ending.
    """
    _check_ending(path, ".pt2")
    program = trace(part)
    with writing(path, parents=True) as target:
        try:
            torch.export.save(program, target, extra_files={DESCRIPTION_FILE: part.description.to_json()})
        except RuntimeError as error:  # torch's message for a full disk
            raise OSError(str(error).splitlines()[0]) from error
    return part.description


def export_onnx(part: Part, path: PathLike, *, plain_convolutions: bool = False, int8: bool = False) -> Description:
    """Writes an ONNX file.

    Args:
        part: of :func:`encoder_part`, :func:`generator_part` or :func:`joined_part`.
        path: the file, ending in .onnx; what does not fit into 2 GB goes into a second file beside it.
        plain_convolutions: leaves 3×3 convolutions as they are. Otherwise they are written in the form that onnxruntime
            computes fastest on CPUs, in a file of the same size: those of wide maps by Winograd's algorithm, those that
            double a map as four convolutions. Runtimes for GPUs have such algorithms themselves. With ``int8``
            convolutions always stay.
        int8: stores weights in 8 bits, and computes with them (:func:`padinv.export.quantization.quantize`).

    Returns:
        What the file says of itself; with ``int8`` that is also how much worse its images are.

    Raises:
        CheckpointError: if the file cannot be written, or has another ending.
        MissingPackageError: if onnx or onnxscript is missing.
    """
    if not all(map(find_spec, ("onnx", "onnxscript"))):
        raise MissingPackageError('ONNX files are written with onnx and onnxscript: pip install "padinv[export]"')
    description = part.description
    _check_ending(path, ".onnx")
    with torch.no_grad(), writing(path, parents=True) as target:
        inputs = part.sample(1)
        faster = RESIZING if plain_convolutions or int8 else RESIZING | CONVOLUTIONS
        with Replacing(faster):
            graph = trace(part)
        exported = torch.onnx.export(
            graph,
            dynamo=True,
            verbose=False,
            input_names=["images"] if isinstance(inputs, Tensor) else list(inputs),
            output_names=list(part.module(inputs)),
        )
        program = cast(torch.onnx.ONNXProgram, exported)  # it is None only where torch writes the file itself
        program.model.metadata_props[METADATA_KEY] = description.to_json()
        program.save(target)
        if int8:
            quantize(target)
            description = replace(description, int8=loss_of_quality(part, target))
            describe(target, description)
    return description


def trace(part: Part) -> ExportedProgram:
    """The graph of a part, for any number of images."""
    batch = Dim("batch", min=1)
    with torch.inference_mode(False), torch.no_grad():
        inputs = part.sample(2)  # traced with a batch of 1, the graph would take 1 alone
        shapes = {0: batch} if isinstance(inputs, Tensor) else {name: {0: batch} for name in inputs}
        return torch.export.export(part.module, (inputs,), dynamic_shapes=(shapes,))


def read_description(path: PathLike) -> Description:
    """Reads what an exported file says of itself.

    Raises:
        CheckpointError: if it is none of padinv's, or damaged.
        MissingPackageError: if it is an ONNX file, and onnxruntime is missing.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        return Session(path).description
    extra = {DESCRIPTION_FILE: ""}
    try:
        torch.export.load(path, extra_files=extra)
        return Description.from_json(extra[DESCRIPTION_FILE])
    except Exception as error:
        raise CheckpointError(f"{path} is no program that padinv has exported ({error}).") from error


def _check_ending(path: PathLike, suffix: str) -> None:
    if Path(path).suffix != suffix:
        raise CheckpointError(f"{os.fspath(path)} must end in {suffix}.")
