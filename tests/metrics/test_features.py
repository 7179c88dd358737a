from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from padinv.exceptions import CheckpointError, ConfigError
from padinv.metrics.features import AlexNetFeatures, FeatureVectors, OnnxFeatures, feature_network


def test_alexnet_is_offline_and_is_not_called_fid() -> None:
    network, label = feature_network("alexnet")
    assert label == "alexnet"
    vectors = FeatureVectors(network, 64)
    assert vectors(torch.rand(2, 3, 64, 64) * 2 - 1).shape == (2, 384 + 256 + 256)


def test_alexnet_maps_are_those_of_lpips_before_their_length_is_taken() -> None:
    images = torch.rand(1, 3, 128, 128) * 2 - 1
    network = AlexNetFeatures()
    expected = network.network.unit_features(images)[2:]
    for ours, unit in zip(network(images), expected, strict=True):
        torch.testing.assert_close(torch.nn.functional.normalize(ours, dim=1, eps=1e-10), unit)


def test_class_path() -> None:
    network, label = feature_network("torch.nn.Flatten")
    assert isinstance(network, nn.Flatten)
    assert label == "flatten"


@pytest.mark.parametrize("name", ["nowhere.Net", "torch.nn.Nothing", "torch.nn.Linear", "os.getcwd", "vgg"])
def test_what_is_no_network(name: str) -> None:
    with pytest.raises(ConfigError, match="--features"):
        feature_network(name)


def onnx_file(path: Path, batch: int | str, side: int | str) -> Path:
    """The mean over positions, as an ONNX file."""
    onnx = pytest.importorskip("onnx", reason="an extra")
    from onnx import TensorProto, helper

    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, side, side])
    made = helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, 3, 1, 1])
    node = helper.make_node("GlobalAveragePool", ["images"], ["features"])
    graph = helper.make_graph([node], "mean", [given], [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("side", [8, "side"])
def test_onnx_file(tmp_path: Path, batch: int | str, side: int | str) -> None:
    network, label = feature_network(str(onnx_file(tmp_path / "My Net.onnx", batch, side)))
    assert label == "my_net"
    images = torch.full((3, 3, 16, 16), 0.5) * torch.tensor([1.0, 0.0, -1.0]).reshape(3, 1, 1, 1)
    vectors = FeatureVectors(network, 16)(images)
    np.testing.assert_allclose(vectors[:, 0], [0.5, 0.0, -0.5], atol=0.01)


def test_damaged_onnx_file(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no network")
    with pytest.raises(CheckpointError, match=r"net\.onnx is not an ONNX file"):
        OnnxFeatures(tmp_path / "net.onnx")
