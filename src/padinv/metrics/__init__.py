"""Validation metrics: those of torchmetrics, and averages of the training's losses."""

from padinv.metrics.collection import MSSSIM, ms_ssim_scales, reconstruction_metrics
from padinv.metrics.fid import FrechetDistance, RandomFeatures
from padinv.metrics.mean_loss import MeanLoss

__all__ = ["MSSSIM", "FrechetDistance", "MeanLoss", "RandomFeatures", "ms_ssim_scales", "reconstruction_metrics"]
