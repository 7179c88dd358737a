"""A small IResNet in ONNX, with the operators and the interface of InsightFace's recognition models."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from published import published

OPSET = 11  # InsightFace's files


def weights_folder() -> Path:
    """The folder with published face networks; skips the test if there is none."""
    return published("mobilefacenet_fixed_batch.onnx").parent


class _Graph:
    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, value: np.ndarray) -> str:
        name = f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def constant(self, value: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(value, name := f"constant{len(self.weights)}"))
        return name

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, x: str, n_in: int, n_out: int, size: int = 3, stride: int = 1) -> str:
        weight = self.random.standard_normal((n_out, n_in, size, size)) * (2 / (n_in * size**2)) ** 0.5
        pads, strides = [size // 2] * 4, [stride] * 2
        bias = self.weight(self.random.standard_normal(n_out) * 0.1)
        return self.node("Conv", x, self.weight(weight), bias, kernel_shape=[size] * 2, pads=pads, strides=strides)

    def batch_norm(self, x: str, n: int) -> str:
        values = [1 + 0.1 * self.random.standard_normal(n), *(0.1 * self.random.standard_normal((2, n)))]
        values.append(0.5 + self.random.random(n))
        return self.node("BatchNormalization", x, *(self.weight(value) for value in values), epsilon=1e-5)

    def prelu(self, x: str, n: int) -> str:
        return self.node("PRelu", x, self.weight(self.random.random((n, 1, 1)) * 0.5))

    def block(self, x: str, n_in: int, n_out: int) -> str:
        y = self.prelu(self.conv(self.batch_norm(x, n_in), n_in, n_out), n_out)
        return self.node("Add", self.conv(y, n_out, n_out, stride=2), self.conv(x, n_in, n_out, size=1, stride=2))


def write_recognition_model(
    path: Path,
    *,
    size: int = 112,
    embedding: int = 512,
    seed: int = 0,
    bytes_in: bool = False,
    fixed_batch: bool = False,
) -> Path:
    """Writes a model from (N, 3, size, size) to (N, embedding).

    Args:
        path: of the file.
        size: of the images.
        embedding: width of the output.
        seed: of the weights.
        fixed_batch: whether it was exported for one image, with a reshape to (1, -1) for a flattening.
        bytes_in: whether the graph begins with InsightFace's old normalisation of [0, 255].
    """
    graph = _Graph(seed)
    x = "input.1"
    if bytes_in:
        x = graph.node("Sub", x, graph.weight(np.array(127.5)))
        x = graph.node("Mul", x, graph.weight(np.array(1 / 127.5)))
    x = graph.prelu(graph.conv(x, 3, 4, stride=2), 4)
    widths = [4, 6, 8, 8]
    for n_in, n_out in pairwise(widths):
        x = graph.block(x, n_in, n_out)
    x = graph.batch_norm(x, 8)
    if fixed_batch:
        x = graph.node("Reshape", x, graph.constant(np.array([1, -1])))
    else:
        x = graph.node("Flatten", x, axis=1)
    features = 8 * (size // 16) ** 2
    weight = graph.weight(graph.random.standard_normal((embedding, features)) / features**0.5)
    bias = graph.weight(graph.random.standard_normal(embedding) * 0.1)
    x = graph.node("Gemm", x, weight, bias, alpha=1.0, beta=1.0, transB=1)
    x = graph.batch_norm(x, embedding)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "iresnet",
            [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1 if fixed_batch else "N", 3, size, size])],
            [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1 if fixed_batch else "N", embedding])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=7,
    )
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
