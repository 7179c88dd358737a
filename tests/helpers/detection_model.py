"""A face detector in ONNX with the interface of InsightFace's SCRFD, that takes coloured blocks for faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 11  # InsightFace's files
STRIDES = (8, 16, 32)
FACE = np.array([[-0.2, -0.2], [0.2, -0.2], [0.0, 0.0], [-0.15, 0.2], [0.15, 0.2]])
"""The five points that are reported, from the block's upper left corner, in strides."""


def write_detection_model(path: Path, *, points: bool = True, size: int | None = None) -> Path:
    """Writes a detector of plain blocks that fill a cell of its grids: red of 8 px, green of 16 px, blue of 32 px.

    Args:
        path: of the file.
        size: of the images that it takes, in pixels; any if not given.
        points: whether it gives landmarks; InsightFace has detectors without.
    """
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    outputs: list[list[onnx.ValueInfoProto]] = [[], [], []]

    def constant(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(value, name))
        return name

    def head(kind: int, stride: int, weight: np.ndarray, bias: np.ndarray) -> None:
        """Per cell and each of its two anchors some numbers, as (cells · 2, width)."""
        name, width = f"output{kind}_{stride}", len(bias)
        conv = [constant(f"{name}_weight", np.tile(weight, (2, 1, 1, 1)).astype(np.float32))]
        conv.append(constant(f"{name}_bias", np.tile(bias, 2).astype(np.float32)))
        nodes.append(helper.make_node("Conv", ["input", *conv], [f"{name}_conv"], strides=[stride] * 2))
        nodes.append(helper.make_node("Transpose", [f"{name}_conv"], [f"{name}_last"], perm=[0, 2, 3, 1]))
        shape = constant(f"{name}_shape", np.array([-1, width]))
        nodes.append(helper.make_node("Reshape", [f"{name}_last", shape], [f"{name}_flat"]))
        nodes.append(helper.make_node("Sigmoid" if kind == 0 else "Identity", [f"{name}_flat"], [name]))
        outputs[kind].append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width]))

    for channel, stride in enumerate(STRIDES):
        mean = np.zeros((1, 3, stride, stride))
        mean[:, channel] = 1 / stride**2
        mean[:, [other for other in range(3) if other != channel]] = -1 / stride**2
        head(0, stride, 8 * mean, np.array([-16.0]))  # a block: 8 · 3 - 16 = 8; black: 8 - 16 = -8
        head(1, stride, np.zeros((4, 3, stride, stride)), np.full(4, 0.5))
        head(2, stride, np.zeros((10, 3, stride, stride)), FACE.flatten())
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "scrfd",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, size or "height", size or "width"])],
            [output for kind in outputs[: 3 if points else 2] for output in kind],
            weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=7,
    )
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
