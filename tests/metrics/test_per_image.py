import copy

import pytest
import torch
from lightning_utilities.core.imports import RequirementCache
from torch import Tensor
from torchmetrics import MeanSquaredError
from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure, PeakSignalNoiseRatio

from padinv.losses import PixelLoss
from padinv.metrics import PerImage, ms_ssim_scales, reconstruction_metrics
from padinv.metrics.per_image import mean_square
from padinv.metrics.structure import MS_SSIM_BETAS


def images(batch: int = 4, size: int = 32) -> tuple[Tensor, Tensor]:
    a, b = torch.rand(2, batch, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return b + 0.3 * (a - b), b


@pytest.mark.parametrize("batches", [[4], [1, 3]])
def test_means_are_those_of_torchmetrics(batches: list[int]) -> None:
    made, target = images()
    ours = reconstruction_metrics(32, [PixelLoss()], lpips=False)
    weights = MS_SSIM_BETAS[: ms_ssim_scales(32)]
    theirs = {
        "mse": MeanSquaredError(),
        "psnr": PeakSignalNoiseRatio(data_range=2.0, dim=(1, 2, 3)),
        "ms_ssim": MultiScaleStructuralSimilarityIndexMeasure(
            betas=tuple(weight / sum(weights) for weight in weights), data_range=1.0
        ),
    }
    for a, b in zip(made.split(batches), target.split(batches), strict=True):
        ours.update(a, b)
    assert sorted(ours) == sorted(theirs)
    for name, metric in theirs.items():
        if name == "ms_ssim" and RequirementCache("torchmetrics<1.9"):
            continue  # earlier ones cut off the borders of the coarsest scale
        pair = ((made + 1) / 2, (target + 1) / 2) if name == "ms_ssim" else (made, target)
        torch.testing.assert_close(ours.compute()[name], metric(*pair), rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("size", [2, 300])
def test_bytes_stand_for_numbers_on_either_side(size: int) -> None:
    """Both in 8 bits, one of them, or none: the same number, and of large pictures."""
    made, target = torch.randint(0, 256, (2, 3, 3, size, size), generator=torch.Generator().manual_seed(0)).byte()
    a, b = (images / 127.5 - 1 for images in (made, target))
    expected = (a - b).double().square().mean(dim=(1, 2, 3)).float()
    channels_last = made.contiguous(memory_format=torch.channels_last)
    for pair in ((made, target), (a, target), (made, b), (channels_last, target), (a, b)):
        torch.testing.assert_close(mean_square(*pair), expected)


def test_every_rank_is_gathered_each_image_once() -> None:
    def gather(state: Tensor, group: object) -> list[Tensor]:
        """As if another rank had seen two perfect images, which is another number of them."""
        return [state, torch.zeros(2)]

    metric = PerImage(mean_square, dist_sync_fn=gather, distributed_available_fn=lambda: True)
    metric.update(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2))
    assert metric.compute().item() == pytest.approx(1 / 3)
    assert metric.gathered_values().tolist() == [1, 0, 0]
    assert metric.values.tolist() == [1]


def test_copies_share_what_measures_and_nothing_else() -> None:
    metric = PerImage(PixelLoss())
    other = copy.deepcopy(metric)
    other.update(*images())
    assert other.measure is metric.measure
    assert len(metric.values) == 0
    assert len(other.values) == 4
    other.persistent(True)
    assert set(other.state_dict()) <= {"parts"}
    other.reset()
    assert len(other.values) == 0
