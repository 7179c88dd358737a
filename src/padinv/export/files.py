"""Writes parts to files, and reads what the files say of themselves."""

from __future__ import annotations

import math
import os
import tempfile
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
from padinv.export.session import METADATA_KEY, Description, Session
from padinv.files import writing
from padinv.typing import PathLike

DESCRIPTION_FILE = f"{METADATA_KEY}.json"
"""The name of the description inside a .pt2."""

IMAGES = 8
"""The number of images that measure the loss of quality."""


def export_torch(part: Part, path: PathLike) -> Description:
    """Writes a program of ``torch.export``, which ``torch.export.load(path).module()`` runs without padinv.

    Args:
        part: the result of :func:`encoder_part`, :func:`generator_part` or :func:`joined_part`.
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
        part: the result of :func:`encoder_part`, :func:`generator_part` or :func:`joined_part`.
        path: the file, ending in .onnx; what does not fit into 2 GB goes into a second file beside it.
        plain_convolutions: leaves 3×3 convolutions as they are. Otherwise they are written in the form that onnxruntime
            computes fastest on CPUs, in a file of the same size: those of wide maps by Winograd's algorithm, those that
            double a map as four convolutions. Runtimes for GPUs have such algorithms themselves. With ``int8``
            convolutions always stay.
        int8: stores weights in 8 bits, and computes with them (:func:`padinv.export.files.quantize`).

    Returns:
        What the file says of itself; with ``int8`` that is also how much worse its images are.

    Raises:
        CheckpointError: if the file cannot be written, or has another ending.
        MissingPackageError: if onnx or onnxscript is missing.
    """
    if not all(map(find_spec, ("onnx", "onnxscript"))):
        raise MissingPackageError('ONNX files are written with onnx and onnxscript: pip install "padinv[export]"')
    import onnx

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
            model = onnx.load(target)
            onnx.helper.set_model_props(model, {METADATA_KEY: description.to_json()})
            onnx.save(model, target)
    return description


def quantize(path: Path) -> None:
    """Replaces an ONNX file by one whose weights have 8 bits (onnxruntime's dynamic quantization).

    It converts convolutions and dense layers. The generator's transposed convolutions keep their weights, since
    onnxruntime has none of 8 bits. Each activation is scaled by its largest value in the batch, so that results depend
    on what else is in a batch.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        folded = Path(scratch) / path.name
        # This folds products of weights, such as equalized ones, into one: only such weights are quantized.
        quant_pre_process(path, folded, skip_symbolic_shape=True)
        # Signed weights are no smaller, but take twice as long on x86.
        quantize_dynamic(folded, path, weight_type=QuantType.QUInt8)


def loss_of_quality(part: Part, path: Path) -> dict[str, float]:
    """Compares the results of a file with those of the part itself, on typical images.

    For an encoder it compares the images that the generator makes of the codes.

    Returns:
        "mse", the mean squared difference of the images in [-1, 1], and "psnr" = 10 · log₁₀(4 / mse), in dB.
    """
    with torch.no_grad():
        inputs = part.sample(IMAGES)
        expected = part.draw(part.module(inputs))
        actual = part.draw(Session(path)({"images": inputs} if isinstance(inputs, Tensor) else inputs))
        mse = float((actual - expected).square().mean())
    return {"mse": mse, "psnr": 10 * math.log10(4 / mse)}


def trace(part: Part) -> ExportedProgram:
    """Traces the graph of a part, for any number of images."""
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
