"""Validation metrics: those of torchmetrics, averages of the training's losses, and how sure a mean is."""

from padinv.metrics.bootstrap import Interval, bootstrap_interval, paired_difference
from padinv.metrics.collection import MSSSIM, image_metrics, ms_ssim_scales, reconstruction_metrics
from padinv.metrics.fid import FrechetDistance, RandomFeatures
from padinv.metrics.mean_loss import MeanLoss

__all__ = [
    "MSSSIM",
    "FrechetDistance",
    "Interval",
    "MeanLoss",
    "RandomFeatures",
    "bootstrap_interval",
    "image_metrics",
    "ms_ssim_scales",
    "paired_difference",
    "reconstruction_metrics",
]
