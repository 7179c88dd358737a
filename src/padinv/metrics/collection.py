"""The metrics of a reconstruction, under the names of the field."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torchmetrics import MeanSquaredError, Metric, MetricCollection
from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure, PeakSignalNoiseRatio

from padinv.exceptions import ConfigError
from padinv.losses.base import ReconstructionLoss
from padinv.losses.perceptual import PerceptualLoss
from padinv.metrics.mean_loss import MeanLoss

MS_SSIM_BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the five scales, finest first (Wang et al. 2003)."""

_WINDOW = 11  # pixels a side of the Gaussian window, as published

LPIPS_SMALLEST = 31
"""Pixels a side from which AlexNet has a last feature map."""


def ms_ssim_scales(resolution: int) -> int:
    """How many of MS-SSIM's five scales images of a resolution have room for: 5 from 256 px, 3 at 64 px, 0 below 11 px.

    The coarsest must hold a whole 11 px window, and torchmetrics asks for more than 10·(scales - 1)² pixels.

    >>> [ms_ssim_scales(resolution) for resolution in (8, 16, 32, 64, 128, 256, 1024)]
    [0, 1, 2, 3, 4, 5, 5]
    """
    rooms = (min(resolution >> (s - 1), resolution // max(1, s - 1) ** 2) for s in range(1, len(MS_SSIM_BETAS) + 1))
    return sum(room >= _WINDOW for room in rooms)


class MSSSIM(MultiScaleStructuralSimilarityIndexMeasure):
    """MS-SSIM of images in [-1, 1], with as many scales as they have room for; the weights of these sum to 1.

    Images are mapped to [0, 1] first: SSIM's luminance term compares means as magnitudes, which fails below zero. With
    fewer than five scales, values are comparable only at the same resolution.

    Args:
        resolution: of the images, in pixels.

    Raises:
        ConfigError: if the resolution is below 11 px.
    """

    def __init__(self, resolution: int, **kwargs: Any) -> None:
        betas = MS_SSIM_BETAS[: ms_ssim_scales(resolution)]
        if not betas:
            raise ConfigError(f"MS-SSIM needs images of {_WINDOW} px or more, not {resolution}.")
        super().__init__(betas=tuple(beta / sum(betas) for beta in betas), data_range=1.0, **kwargs)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Adds reconstructions (B, 3, H, W) of targets (B, 3, H, W), both in [-1, 1]."""
        super().update((preds + 1) / 2, (target + 1) / 2)


def reconstruction_metrics(
    resolution: int, losses: Iterable[ReconstructionLoss] = (), *, lpips: bool = True
) -> MetricCollection:
    """Builds the metrics that validation reports: averages over images in [-1, 1], in float32.

    - ``mse``: mean square, on the scale of :class:`~padinv.losses.PixelLoss`;
    - ``psnr``: in dB, of a range of 2, the mean of the images' own values;
    - ``ms_ssim``: where the resolution has room for it;
    - ``lpips``: with AlexNet, whose weights are bundled, from 31 px on;
    - for each loss that has a ``metric_name``, the average of that loss: ``lpips_vgg``, ``id``, ``features``.

    Args:
        resolution: of the images that will be compared, in pixels.
        losses: those of the training; their networks are shared, not copied.
        lpips: whether to report LPIPS even if it is none of the losses.

    Returns:
        A collection without a prefix: ``.clone(prefix="val/")`` gives it one.

    >>> sorted(reconstruction_metrics(64)), sorted(reconstruction_metrics(64, lpips=False))
    (['lpips', 'ms_ssim', 'mse', 'psnr'], ['ms_ssim', 'mse', 'psnr'])
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "mse": MeanSquaredError(),
        "psnr": PeakSignalNoiseRatio(data_range=2.0, dim=(1, 2, 3)),
    }
    if ms_ssim_scales(resolution):
        metrics["ms_ssim"] = MSSSIM(resolution)
    parts = [part for loss in losses for part in loss.parts()]
    metrics |= {part.metric_name: MeanLoss(part) for part in parts if part.metric_name is not None}
    if lpips and "lpips" not in metrics and resolution >= LPIPS_SMALLEST:
        metrics["lpips"] = MeanLoss(PerceptualLoss("alex"))
    # Compute groups merge metrics whose states agree after the first batch, as those of two losses may (0 and 0).
    return MetricCollection(metrics, compute_groups=False)


def image_metrics(
    resolution: int, losses: Iterable[ReconstructionLoss] = (), *, lpips: bool = True
) -> MetricCollection:
    """:func:`reconstruction_metrics` that keep the value of each image, for intervals: what a test reports.

    Args:
        resolution: of the images that will be compared, in pixels.
        losses: those of the training; their networks are shared, not copied.
        lpips: whether to report LPIPS even if it is none of the losses.

    >>> sorted(image_metrics(64))
    ['lpips', 'ms_ssim', 'mse', 'psnr']
    """
    from padinv.metrics.per_image import PerImage, mean_square, one_by_one, peak_signal_to_noise
    from padinv.metrics.structure import multi_scale_similarity

    metrics: dict[str, Metric | MetricCollection] = {
        "mse": PerImage(mean_square),
        "psnr": PerImage(peak_signal_to_noise),
    }
    if ms_ssim_scales(resolution):
        metrics["ms_ssim"] = PerImage(multi_scale_similarity)
    parts = [part for loss in losses for part in loss.parts()]
    metrics |= {part.metric_name: PerImage(one_by_one(part)) for part in parts if part.metric_name is not None}
    if lpips and "lpips" not in metrics and resolution >= LPIPS_SMALLEST:
        metrics["lpips"] = PerImage(one_by_one(PerceptualLoss("alex")))
    return MetricCollection(metrics, compute_groups=False)
