import pytest
import torch
import torch.nn.functional as F
from lightning_utilities.core.imports import RequirementCache
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from padinv.exceptions import ConfigError
from padinv.metrics.structure import MS_SSIM_BETAS, ms_ssim_scales, multi_scale_similarity


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
@pytest.mark.parametrize("size", [11, 16, 21, 32, 50, 64, 88, 100, 128, 176, 200, 256])
def test_fewer_scales_are_as_torchmetrics_has_them(size: int) -> None:
    made, target = (F.interpolate(image, size=size, mode="bicubic").clamp(-1, 1) for image in images(64))
    weights = torch.tensor(MS_SSIM_BETAS[: ms_ssim_scales(size)])
    betas = tuple((weights / weights.sum()).tolist())  # those of the scales there is room for, with a sum of 1
    expected = multiscale_structural_similarity_index_measure(
        (made + 1) / 2, (target + 1) / 2, betas=betas, data_range=1.0, reduction="none"
    )
    torch.testing.assert_close(multi_scale_similarity(made, target), expected, rtol=2e-4, atol=1e-5)


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
