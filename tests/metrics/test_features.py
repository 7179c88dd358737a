from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import nn

from padinv.exceptions import CheckpointError, ConfigError, WeightsNotFoundError
from padinv.metrics.features import (
    AlexNetFeatures,
    FeatureVectors,
    OnnxFeatures,
    TorchvisionInception,
    feature_network,
)


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


def onnx_file(path: Path, batch: int | str, side: int | str, made: str = "GlobalAveragePool") -> Path:
    """The mean over positions, as an ONNX file; or another operator, which gives something else."""
    onnx = pytest.importorskip("onnx", reason="an extra")
    from onnx import TensorProto, helper

    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, side, side])
    kind = TensorProto.INT64 if made == "Shape" else TensorProto.FLOAT
    shape = [batch, 3, 1, 1] if made == "GlobalAveragePool" else None
    features = helper.make_tensor_value_info("features", kind, shape)
    graph = helper.make_graph([helper.make_node(made, ["images"], ["features"])], "mean", [given], [features])
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


def test_onnx_file_that_gives_no_features(tmp_path: Path) -> None:
    network, _ = feature_network(str(onnx_file(tmp_path / "shape.onnx", "N", 8, "Shape")))
    with pytest.raises(ConfigError, match=r"shape\.onnx gives \(\) for 1 images: features are vectors"):
        FeatureVectors(network, 8)


def test_onnx_file_for_another_number_of_images(tmp_path: Path) -> None:
    network, _ = feature_network(str(onnx_file(tmp_path / "four.onnx", 4, 8)))
    with pytest.raises(CheckpointError, match=r"four\.onnx does not take 1 images of 8x8 px"):
        FeatureVectors(network, 8)


class Sums(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.sum(dim=(1, 2, 3))


@pytest.mark.parametrize("network", [Sums(), nn.Flatten(0)])
def test_network_that_gives_no_features(network: nn.Module) -> None:
    with pytest.raises(ConfigError, match=rf"{type(network).__name__} gives \(\d+,\) for 1 images"):
        FeatureVectors(network, 8)


@pytest.mark.slow
def test_torchvision_inception_is_the_network_up_to_its_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights of the right shapes in torch's cache; by hand: ImageNet's mean and deviation, then its layers."""
    from torchvision.models import inception_v3

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / TorchvisionInception.file
    file.parent.mkdir(parents=True)
    network = inception_v3(weights=None, init_weights=False).eval()
    torch.save(network.state_dict(), file)
    found: list[torch.Tensor] = []
    network.avgpool.register_forward_hook(lambda _module, _given, made: found.append(made.flatten(1)))
    images = ((torch.rand(1, 3, 299, 299) * 255).round() / 127.5 - 1).clamp(-1, 1)
    mean, deviation = (torch.tensor(x).view(3, 1, 1) for x in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.inference_mode():
        network(((images + 1) / 2 - mean) / deviation)
        ours = FeatureVectors(feature_network("inception_torchvision")[0], 299)(images)
    torch.testing.assert_close(ours, found[0], rtol=1e-4, atol=1e-5)
    torch.save({"fc.weight": torch.zeros(1)}, file)
    with pytest.raises(CheckpointError, match=r"inception_v3_google.* is damaged, or holds another network: remove it"):
        TorchvisionInception()


def test_torchvision_inception_without_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", missing)
    monkeypatch.setattr("torchvision.models.inception_v3", lambda **_: nn.Identity())
    with pytest.raises(WeightsNotFoundError, match=r"no route to host.*inception_v3_google"):
        TorchvisionInception()


def test_network_that_gives_nan() -> None:
    network = torch.nn.Conv2d(3, 2, 1)
    torch.nn.init.constant_(network.weight, float("nan"))
    with pytest.raises(ConfigError, match="Conv2d gives NaN or infinite features"):
        FeatureVectors(network, 8)
