import copy
import math

import pytest
import torch
from lightning_utilities.core.imports import RequirementCache
from torch import Tensor, nn
from torchmetrics.image import StructuralSimilarityIndexMeasure

from padinv.exceptions import ConfigError
from padinv.losses import Frozen, PerceptualLoss, PixelLoss, ReconstructionLoss, WeightedSum
from padinv.metrics import PerImage, multi_scale_similarity, reconstruction_metrics

mirrors = pytest.mark.skipif(
    RequirementCache("torchmetrics<1.9"), reason="earlier ones cut off the borders of the coarsest scale"
)


class Distance(ReconstructionLoss):
    """A loss with a network, that counts its calls."""

    def __init__(self, name: str | None, scale: float = 1.0) -> None:
        super().__init__()
        self.metric_name = name
        self.scale = scale
        self.frozen = Frozen(nn.Conv2d(3, 2, 1))
        self.calls = 0

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        return self.each(reconstruction, target).mean()

    def each(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        self.calls += 1
        return self.scale * (reconstruction - target).abs().mean(dim=(1, 2, 3))


def images(batch: int = 4, size: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    return tuple(torch.rand(2, batch, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1)


@pytest.mark.parametrize("batches", [[4], [1, 3], [1, 1, 2]])
def test_metric_of_a_loss_does_not_depend_on_the_batches(batches: list[int]) -> None:
    a, b = images()
    metric = PerImage(PixelLoss(squared=False))
    for x, y in zip(a.split(batches), b.split(batches), strict=True):
        metric.update(x, y)
    torch.testing.assert_close(metric.compute(), PixelLoss(squared=False)(a, b))


def test_metric_of_a_loss_counts_the_images_of_all_ranks() -> None:
    def gather(state: Tensor, group: object) -> list[Tensor]:
        """As if another rank had seen three times as many images, and all were perfect; and a third one none."""
        return [state, torch.zeros(3 * len(state)), torch.zeros(0)]

    metric = PerImage(PixelLoss(), dist_sync_fn=gather, distributed_available_fn=lambda: True)
    metric.update(torch.ones(2, 3, 2, 2), torch.zeros(2, 3, 2, 2))
    assert metric.compute() == 0.25


def test_metric_of_a_loss_resets() -> None:
    metric = PerImage(PixelLoss())
    metric.update(*images())
    metric.reset()
    metric.update(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2))
    assert metric.compute() == 1


def test_metric_of_a_loss_refers_to_a_network_without_having_it() -> None:
    loss = Distance("lpips")
    metric = PerImage(loss)
    metric.persistent(True)
    assert set(metric.state_dict()) <= {"parts"}
    assert not list(metric.children())
    for other in (
        copy.deepcopy(metric),
        metric.clone(),
        reconstruction_metrics(32, [loss]).clone(prefix="val/")["lpips"],
    ):
        assert other.measure is loss
        other.update(*images())
        assert len(other.values) == 4
    assert len(metric.values) == 0


def test_metrics_take_no_gradient() -> None:
    a, b = images()
    metric = PerImage(PixelLoss())
    metric.update(a.requires_grad_(), b)
    assert not metric.values.requires_grad


def test_collection_on_images_whose_values_are_known() -> None:
    target = torch.zeros(2, 3, 32, 32)
    reconstruction = target.clone()
    reconstruction[0] += 0.2  # mean square 0.04, 20 dB of a range of 2
    reconstruction[1] += 0.02  # mean square 0.0004, 40 dB
    values = reconstruction_metrics(32)(reconstruction, target)
    assert values["mse"].item() == pytest.approx((0.04 + 0.0004) / 2, rel=1e-5)
    assert values["psnr"].item() == pytest.approx(30, rel=1e-5)


def test_psnr_averages_images_across_batches() -> None:
    metrics = reconstruction_metrics(8)
    for offset in (0.2, 0.02):
        metrics.update(torch.full((1, 3, 8, 8), offset), torch.zeros(1, 3, 8, 8))
    assert metrics.compute()["psnr"].item() == pytest.approx(30, rel=1e-5)


def test_collection_reports_the_losses_that_have_a_name() -> None:
    a, b = images()
    lpips, identity = Distance("lpips", scale=2.0), Distance("id", scale=3.0)
    metrics = reconstruction_metrics(32, [PixelLoss(), lpips, identity, Distance(None)])
    assert sorted(metrics) == ["id", "lpips", "ms_ssim", "mse", "psnr"]
    metrics.update(b, b)  # all distances agree here, which must not make one metric of them
    metrics.update(a, b)
    values = metrics.compute()
    distance = (a - b).abs().mean().item()
    assert values["lpips"].item() == pytest.approx(distance * 2.0 / 2, rel=1e-5)
    assert values["id"].item() == pytest.approx(distance * 3.0 / 2, rel=1e-5)
    assert lpips.calls == 2


@pytest.mark.parametrize("resolution", [11, 16, 21, 32, 50, 64, 88, 100, 128, 176, 200, 256])
def test_ms_ssim_uses_the_scales_there_is_room_for(resolution: int) -> None:
    a, b = images(batch=1, size=resolution)
    assert multi_scale_similarity(b, b).item() == pytest.approx(1, abs=1e-5)
    assert 0 <= multi_scale_similarity(a, b).item() < 0.9


@mirrors
def test_ms_ssim_of_one_scale_is_ssim_of_pictures_in_0_to_1() -> None:
    a, b = images(size=16)
    a = b + 0.2 * (a - b)
    expected = StructuralSimilarityIndexMeasure(data_range=1.0)((a + 1) / 2, (b + 1) / 2)
    torch.testing.assert_close(multi_scale_similarity(a, b).mean(), expected, rtol=1e-4, atol=1e-5)


def test_ms_ssim_falls_as_noise_grows() -> None:
    noise, target = images(size=64)
    values = [multi_scale_similarity(target + level * noise, target).mean().item() for level in (0, 0.1, 0.3, 1)]
    assert values == sorted(values, reverse=True)
    assert not any(math.isnan(value) for value in values)


def test_lpips_is_reported_whatever_the_losses() -> None:
    assert sorted(reconstruction_metrics(64, [PixelLoss()])) == ["lpips", "ms_ssim", "mse", "psnr"]
    assert "lpips" not in reconstruction_metrics(64, lpips=False)
    assert "lpips" not in reconstruction_metrics(30)  # too small for AlexNet
    given = PerceptualLoss()
    metrics = reconstruction_metrics(31, [WeightedSum([PixelLoss(), WeightedSum([given])])])
    assert metrics["lpips"].measure is given
    a, b = images(size=31)
    assert metrics(b, b)["lpips"] == 0
    metrics.reset()
    for size in (1, 3):
        metrics.update(a[:size], b[:size])
    expected = (given(a[:1], b[:1]) + 3 * given(a[:3], b[:3])) / 4
    torch.testing.assert_close(metrics.compute()["lpips"], expected.detach())


def test_losses_are_measured_in_full_precision() -> None:
    a, b = images()
    metric = PerImage(PerceptualLoss())
    with torch.autocast("cpu", torch.bfloat16):
        metric.update(a, b)
    torch.testing.assert_close(metric.compute(), PerceptualLoss()(a, b).detach(), rtol=1e-5, atol=0)


def test_ms_ssim_is_left_out_below_its_window() -> None:
    assert "ms_ssim" not in reconstruction_metrics(8)
    with pytest.raises(ConfigError, match="11 px or more, not 8"):
        multi_scale_similarity(*images(size=8))
