"""ONNX files with weights of 8 bits, and what that costs."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from padinv.export.parts import Part
from padinv.export.session import METADATA_KEY, Description, Session

IMAGES = 8
"""Number of images on which the loss of quality is measured."""


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


def describe(path: Path, description: Description) -> None:
    """Replaces the description in an ONNX file."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {METADATA_KEY: description.to_json()})
    onnx.save(model, path)
