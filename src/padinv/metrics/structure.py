"""Multi-scale structural similarity (Wang et al. 2003) of each image, in the three forms that the field computes.

All share the five scales, the 11 px Gaussian window of σ 1.5, and the constants 0.01 and 0.03. They differ in what is
averaged before the scales are multiplied, and in the range of the pixels. The results differ in the second or third
digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from padinv.exceptions import ConfigError

Form: TypeAlias = Literal["torchmetrics", "piq", "psp"]
"""``torchmetrics``: the mean over channels first, then the product; pixels in [0, 1]; the coarsest scale is mirrored
at its borders. ``piq``: a product for each
channel, then their mean; odd sides get a repeated line before halving; pixels in [0, 1]. ``psp`` (pytorch-msssim, as in
pSp, e4e and StyleRes): as torchmetrics, but pixels in [-1, 1], a range of 2 if a pixel of the reconstruction is below
-0.5, else 1, and NaN for a negative contrast."""

MS_SSIM_BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the five scales, finest first (Wang et al. 2003)."""

_WINDOW = 11  # pixels a side of the Gaussian window, as published

_MOST_PIXELS = 1 << 21
"""Of one image that is compared at once: the filters keep four maps of it in float32."""


def ms_ssim_scales(resolution: int) -> int:
    """How many of MS-SSIM's five scales images of a resolution have room for: 5 from 256 px, 3 at 64 px, 0 below 11 px.

    The coarsest must hold a whole 11 px window, and torchmetrics asks for more than 10·(scales - 1)² pixels.

    >>> [ms_ssim_scales(resolution) for resolution in (8, 16, 32, 64, 128, 256, 1024)]
    [0, 1, 2, 3, 4, 5, 5]
    """
    rooms = (min(resolution >> (s - 1), resolution // max(1, s - 1) ** 2) for s in range(1, len(MS_SSIM_BETAS) + 1))
    return sum(room >= _WINDOW for room in rooms)


def multi_scale_similarity(
    reconstruction: Tensor,
    target: Tensor,
    form: Form = "torchmetrics",
    scales: int | None = None,
) -> Tensor:
    """MS-SSIM of each image: 1 for equal ones.

    Args:
        reconstruction: (B, 3, H, W) in [-1, 1].
        target: (B, 3, H, W) in [-1, 1].
        form: which of the three forms (:data:`Form`).
        scales: how many of the five, the finest first; as many as there is room for, if not given. Their weights sum
            to 1.

    Returns:
        (B,)

    Raises:
        ConfigError: if the images have no room for the window.

    >>> x = torch.rand(2, 3, 64, 64) * 2 - 1
    >>> [round(value, 4) for value in multi_scale_similarity(x, x).tolist()]
    [1.0, 1.0]
    """
    side = min(target.shape[-2:])
    scales = ms_ssim_scales(side) if scales is None else scales
    if not scales:
        raise ConfigError(f"MS-SSIM needs images of {_WINDOW} px or more, not {side}.")
    betas = MS_SSIM_BETAS[:scales]
    weights = [beta / sum(betas) for beta in betas] if scales < len(MS_SSIM_BETAS) else list(betas)
    at_once = max(1, _MOST_PIXELS // (target.shape[-1] * target.shape[-2]))
    parts = [
        _similarity(x.float(), y.float(), form, weights)
        for x, y in zip(torch.split(reconstruction, at_once), torch.split(target, at_once), strict=True)
    ]
    return torch.cat(parts)


def _similarity(x: Tensor, y: Tensor, form: Form, weights: Sequence[float]) -> Tensor:
    if form != "psp":  # means are compared as magnitudes, which goes wrong below zero
        x, y = (x + 1) / 2, (y + 1) / 2
    over = (2, 3) if form == "piq" else (1, 2, 3)
    product = torch.ones((), device=x.device)
    for scale, weight in enumerate(weights):
        if scale:
            if form == "piq" and (odd := max(x.shape[2] % 2, x.shape[3] % 2)):
                x, y = (F.pad(image, (odd, 0, odd, 0), mode="replicate") for image in (x, y))
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        data_range = 1.0 + (x.amin(dim=(1, 2, 3), keepdim=True) < -0.5) if form == "psp" else 1.0
        last = scale == len(weights) - 1
        if last and form == "torchmetrics":
            x, y = (F.pad(image, (_WINDOW // 2,) * 4, mode="reflect") for image in (x, y))
        similarity, contrast = _compare(x, y, data_range)
        value = (similarity if last else contrast).mean(dim=over)
        product = product * (value if form == "psp" else value.relu()) ** weight
    return product.mean(dim=1) if form == "piq" else product


def _compare(x: Tensor, y: Tensor, data_range: Tensor | float) -> tuple[Tensor, Tensor]:
    """SSIM at each position, (B, C, H - 10, W - 10), and its second factor, contrast and structure."""
    mean_x, mean_y, squares, product = _blur(torch.cat([x, y, x * x + y * y, x * y])).chunk(4)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2  # K₁ and K₂ of the paper
    means, together = mean_x.square() + mean_y.square(), mean_x * mean_y
    contrast = (2 * (product - together) + c2) / (squares - means + c2)
    luminance = (2 * together + c1) / (means + c1)
    return luminance * contrast, contrast


def _blur(images: Tensor) -> Tensor:
    """The mean under the window, rows and columns one after the other: 22 products a position instead of 121."""
    distance = torch.arange(_WINDOW, device=images.device) - _WINDOW // 2
    window = torch.exp(-(distance.square()) / (2 * 1.5**2))
    window = (window / window.sum()).to(images.dtype)
    maps = images.flatten(0, 1)[None]  # as channels of one image, which is ten times as fast as images of one channel
    count = maps.shape[1]
    maps = F.conv2d(maps, window.reshape(1, 1, -1, 1).expand(count, 1, -1, 1), groups=count)
    maps = F.conv2d(maps, window.reshape(1, 1, 1, -1).expand(count, 1, 1, -1), groups=count)
    return maps[0].reshape(*images.shape[:2], *maps.shape[2:])
