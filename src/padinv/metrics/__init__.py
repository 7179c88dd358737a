"""Validation metrics: torchmetrics' own where it has them, and the averages of the losses where not."""

from padinv.metrics.collection import MSSSIM, ms_ssim_scales, reconstruction_metrics
from padinv.metrics.fid import FrechetDistance, RandomFeatures
from padinv.metrics.mean_loss import MeanLoss

__all__ = ["MSSSIM", "FrechetDistance", "MeanLoss", "RandomFeatures", "ms_ssim_scales", "reconstruction_metrics"]
