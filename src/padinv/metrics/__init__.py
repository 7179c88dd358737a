"""Metrics of reconstructions, image by image, distances between sets, and how sure a mean is."""

from padinv.metrics.bootstrap import Interval, bootstrap_interval, paired_difference
from padinv.metrics.collection import reconstruction_metrics
from padinv.metrics.fid import FrechetDistance, RandomFeatures
from padinv.metrics.per_image import PerImage
from padinv.metrics.structure import ms_ssim_scales, multi_scale_similarity

__all__ = [
    "FrechetDistance",
    "Interval",
    "PerImage",
    "RandomFeatures",
    "bootstrap_interval",
    "ms_ssim_scales",
    "multi_scale_similarity",
    "paired_difference",
    "reconstruction_metrics",
]
