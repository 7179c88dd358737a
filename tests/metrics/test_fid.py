import sys
import types
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from padinv.batches import ImageRangeWarning
from padinv.exceptions import CheckpointError, ConfigError, DataError, MissingPackageError, WeightsNotFoundError
from padinv.images import load_tensor
from padinv.metrics import FrechetDistance, RandomFeatures
from padinv.networks.backbone import IResNet
from padinv.sources.opening import open_source

EXTRACTOR = "torch_fidelity.feature_extractor_inceptionv3"


@pytest.fixture(scope="module")
def portraits() -> Tensor:
    source = open_source("congress64-train")
    return torch.stack([load_tensor(source.read(i), 64) for i in range(len(source))])


def distance(metric: FrechetDistance, real: Tensor, fake: Tensor) -> float:
    metric.reset()
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return metric.compute().item()


class Pixels(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


@pytest.mark.parametrize(("real", "fake"), [(1, 2), (2, 1)])
def test_one_image_has_no_variance(real: int, fake: int) -> None:
    black = torch.full((2, 3, 8, 8), -1.0)
    with pytest.raises(DataError, match=f"{real} real and {fake} generated ones are too few"):
        distance(FrechetDistance(Pixels(), resolution=8), black[:real], black[:fake])


def test_is_the_distance_of_two_gaussians() -> None:
    """Against the definition, the root of Σ·Σ' from eigenvectors of symmetric matrices."""
    random = np.random.default_rng(0)
    a, b = (
        np.round(random.normal(mean, scale, (200, 12)).clip(-1, 1) * 127.5 + 127.5) / 127.5 - 1
        for mean, scale in ((0.1, 0.2), (-0.1, 0.3))
    )

    def root(matrix: Any) -> Any:
        values, vectors = np.linalg.eigh(matrix)
        return vectors * np.sqrt(values.clip(0)) @ vectors.T

    half = root(np.cov(a.T))
    expected = (
        np.sum((a.mean(0) - b.mean(0)) ** 2)
        + np.trace(np.cov(a.T) + np.cov(b.T))
        - 2 * np.trace(root(half @ np.cov(b.T) @ half))
    )
    real, fake = (torch.tensor(x, dtype=torch.float32).view(200, 3, 2, 2) for x in (a, b))
    assert distance(FrechetDistance(Pixels(), 2), real, fake) == pytest.approx(expected, rel=1e-4)


def test_images_are_cut_and_rounded_as_in_files() -> None:
    metric = FrechetDistance(Pixels(), 2)
    images = torch.rand(20, 3, 2, 2) * 3 - 1.5
    stored = ((images.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    torch.testing.assert_close(metric.inception(images), stored.flatten(1))


@pytest.mark.parametrize("features", [RandomFeatures(width=8), RandomFeatures(seed=1, width=8)])
def test_worse_images_are_farther_away(features: nn.Module, portraits: Tensor) -> None:
    metric = FrechetDistance(features, 64)
    real, images = portraits[::2], portraits[1::2]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    near = distance(metric, real, images)
    assert near < distance(metric, real, images + 0.1 * noise) < distance(metric, real, images + 0.4 * noise)
    assert near < distance(metric, real, nn.functional.avg_pool2d(images, 3, 1, 1))
    assert near < distance(metric, real, images + 0.3)
    assert near < distance(metric, real, images[:2].repeat(32, 1, 1, 1))
    assert distance(metric, portraits, portraits.flip(0)) == pytest.approx(0, abs=1e-3 * near)


def test_maps_and_several_maps_become_one_vector(portraits: Tensor) -> None:
    backbone = IResNet(18, 4).eval()
    features = FrechetDistance(backbone, 64).inception(portraits[:2])
    expected = torch.cat([x.mean(dim=(2, 3)) for x in backbone(portraits[:2])], dim=1)
    torch.testing.assert_close(features, expected)


def test_network_is_copied_frozen_and_not_saved() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    metric = FrechetDistance(network, 8)
    assert network.training
    assert all(p.requires_grad for p in network.parameters())
    with torch.no_grad():
        network[0].weight.zero_()
    assert metric.train().inception.network[0].weight.abs().sum() > 0
    assert not metric.inception.network.training
    metric.persistent(True)
    assert not any("inception" in key for key in metric.state_dict())
    assert not list(metric.parameters())


def test_network_sees_float32_under_autocast() -> None:
    metric = FrechetDistance(nn.Conv2d(3, 4, 3), 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert metric.inception(torch.zeros(1, 3, 8, 8)).dtype == torch.float32


def test_real_images_can_be_kept(portraits: Tensor) -> None:
    metric = FrechetDistance("random", 64, reset_real_features=False)
    metric.update(portraits[:16], real=True)
    metric.update(portraits[16:32], real=False)
    first = metric.compute()
    metric.reset()
    metric.update(portraits[16:32], real=False)
    assert metric.compute() == first


def test_random_features_are_those_of_the_seed(portraits: Tensor) -> None:
    before = torch.random.get_rng_state()
    a, again, b = (RandomFeatures(seed, 8)(portraits[:2])[-1] for seed in (3, 3, 4))
    assert torch.equal(a, again)
    assert not torch.allclose(a, b)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_unknown_features() -> None:
    with pytest.raises(ConfigError, match="inception, random or a network, not 'vgg'"):
        FrechetDistance("vgg")


def torch_fidelity(monkeypatch: pytest.MonkeyPatch, extractor: Any) -> None:
    module = types.ModuleType(EXTRACTOR)
    module.FeatureExtractorInceptionV3 = extractor
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, EXTRACTOR, module)


def test_inception_gets_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Extractor(nn.Module):
        def __init__(self, name: str, features_list: list[str]) -> None:
            super().__init__()
            assert features_list == ["2048"]

        def forward(self, images: Tensor) -> tuple[Tensor]:
            assert images.dtype == torch.uint8
            return (images.flatten(1).float(),)

    torch_fidelity(monkeypatch, Extractor)
    images = torch.tensor([-1.2, -1.0, 0.2, 1.0])[:, None, None, None].expand(4, 3, 2, 2)
    assert FrechetDistance("inception", 2).inception(images)[:, 0].tolist() == [0, 0, 153, 255]


def test_inception_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, EXTRACTOR, None)
    with pytest.raises(MissingPackageError, match="pip install torch-fidelity"):
        FrechetDistance()


def test_inception_without_the_net(monkeypatch: pytest.MonkeyPatch) -> None:
    def extractor(*_: Any) -> nn.Module:
        raise URLError("no route to host")

    torch_fidelity(monkeypatch, extractor)
    with pytest.raises(WeightsNotFoundError, match=r"no route to host.*checkpoints"):
        FrechetDistance("inception")


def test_inception_of_damaged_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def extractor(*_: Any) -> nn.Module:
        raise RuntimeError("PytorchStreamReader failed: not a ZIP archive")

    torch_fidelity(monkeypatch, extractor)
    with pytest.raises(CheckpointError, match=r"damaged.*remove weights-inception-2015-12-05-6726825d\.pth.*ZIP"):
        FrechetDistance("inception")


def test_images_in_another_range_are_told() -> None:
    metric = FrechetDistance("random", resolution=16)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with pytest.warns(ImageRangeWarning, match="no value below 0"):
        metric.update(images, real=True)
    with pytest.raises(DataError, match=r"not torch\.uint8"):
        metric.update((images * 255).byte(), real=False)
