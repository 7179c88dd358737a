"""The metrics of a reconstruction, under the names of the field."""

from __future__ import annotations

from collections.abc import Iterable

from torchmetrics import MetricCollection

from padinv.losses.base import ReconstructionLoss
from padinv.losses.perceptual import PerceptualLoss
from padinv.metrics.per_image import PerImage, mean_square, peak_signal_to_noise
from padinv.metrics.structure import ms_ssim_scales, multi_scale_similarity

LPIPS_SMALLEST = 31
"""Pixels a side from which AlexNet has a last feature map."""


def reconstruction_metrics(
    resolution: int, losses: Iterable[ReconstructionLoss] = (), *, lpips: bool = True
) -> MetricCollection:
    """Builds the metrics that validation and test report: averages over images in [-1, 1], in float32.

    - ``mse``: mean square, on the scale of :class:`~padinv.losses.PixelLoss`;
    - ``psnr``: in dB, of a range of 2, the mean of the images' own values;
    - ``ms_ssim``: with as many scales as the resolution has room for, if any;
    - ``lpips``: with AlexNet, whose weights are bundled, from 31 px on;
    - for each loss that has a ``metric_name``, the average of that loss: ``lpips_vgg``, ``id``, ``features``.

    Args:
        resolution: side of the images that will be compared, in pixels.
        losses: those of the training; their networks are shared, not copied.
        lpips: whether to report LPIPS even if it is none of the losses.

    Returns:
        A collection of :class:`~padinv.metrics.PerImage`, without a prefix: ``.clone(prefix="val/")`` gives it one.

    >>> sorted(reconstruction_metrics(64)), sorted(reconstruction_metrics(64, lpips=False))
    (['lpips', 'ms_ssim', 'mse', 'psnr'], ['ms_ssim', 'mse', 'psnr'])
    """
    metrics = {"mse": PerImage(mean_square), "psnr": PerImage(peak_signal_to_noise)}
    if ms_ssim_scales(resolution):
        metrics["ms_ssim"] = PerImage(multi_scale_similarity)
    parts = [part for loss in losses for part in loss.parts()]
    metrics |= {part.metric_name: PerImage(part) for part in parts if part.metric_name is not None}
    if lpips and "lpips" not in metrics and resolution >= LPIPS_SMALLEST:
        metrics["lpips"] = PerImage(PerceptualLoss("alex"))
    # Compute groups merge metrics whose states agree after the first batch, as those of two losses may (0 and 0).
    return MetricCollection(dict(metrics), compute_groups=False)
