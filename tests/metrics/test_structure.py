import pytest
import torch
from lightning_utilities.core.imports import RequirementCache
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from padinv.exceptions import ConfigError
from padinv.metrics import MSSSIM
from padinv.metrics.collection import MS_SSIM_BETAS
from padinv.metrics.structure import multi_scale_similarity


def images(size: int, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    small = torch.rand(3, 3, size // 8, size // 8, generator=random) * 2 - 1
    target = torch.nn.functional.interpolate(small, size=size, mode="bicubic").clamp(-1, 1)
    return (target + noise * torch.randn(target.shape, generator=random)).clamp(-1, 1), target


mirrors = pytest.mark.skipif(
    RequirementCache("torchmetrics<1.9"), reason="earlier ones cut off the borders of the coarsest scale"
)


@mirrors
def test_each_image_is_as_torchmetrics_has_it() -> None:
    made, target = images(192)
    expected = multiscale_structural_similarity_index_measure(
        (made + 1) / 2, (target + 1) / 2, betas=MS_SSIM_BETAS, data_range=1.0, reduction="none"
    )
    torch.testing.assert_close(multi_scale_similarity(made, target), expected, rtol=2e-4, atol=1e-5)


@mirrors
def test_small_images_have_fewer_scales_as_the_metric_of_training() -> None:
    made, target = images(64)
    torch.testing.assert_close(
        multi_scale_similarity(made, target).mean(), MSSSIM(64)(made, target), rtol=1e-4, atol=1e-5
    )


def test_large_images_are_compared_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made, target = images(64)
    together = multi_scale_similarity(made, target, "piq")
    monkeypatch.setattr("padinv.metrics.structure._MOST_PIXELS", 64 * 64)
    torch.testing.assert_close(multi_scale_similarity(made, target, "piq"), together)


def test_negative_contrast_is_nan_in_psps_form_alone() -> None:
    _, target = images(192)
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    made = (-target + noise).clamp(-1, 1)
    assert multi_scale_similarity(made, target).eq(0).all()
    assert multi_scale_similarity(made, target, "psp").isnan().all()


def test_window_needs_room() -> None:
    with pytest.raises(ConfigError, match="11 px or more, not 8"):
        multi_scale_similarity(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
