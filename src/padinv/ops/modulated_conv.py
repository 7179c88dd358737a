"""The style-modulated convolution of StyleGAN2 (Karras et al. 2019, section 2.2), with the padding ring of PadInv.

With s the style, w the weight and r the ring,  y = d · (w ∗ [x · s | r]),  where [· | r] lays the ring around the map
*after* modulation, and d_o = 1 / √(Σ_ik (w_oik · s_i)² + ε) is the demodulation of output channel o.

Activations are scaled instead of the weight: the convolution then has one weight for the whole batch. d comes from a
product of matrices, since Σ_ik (w_oik · s_i)² = Σ_i (Σ_k w_oik²) · s_i².
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from padinv.ops.resampling import blur
from padinv.ops.ring import pad_with_ring

EPSILON = 1e-8


def demodulation(weight: Tensor, style: Tensor, epsilon: float = EPSILON) -> Tensor:
    """1 / √(Σ_ik (w_oik · s_i)² + ε), in float32 whatever autocast says: it is a sum of many squares.

    Args:
        weight: (O, I, k, k).
        style: (B, I).
        epsilon: keeps the root away from zero.

    Returns:
        (B, O), float32.

    >>> demodulation(torch.full((1, 4, 1, 1), 3.0), torch.ones(1, 4)).item()  # 1 / √(4 · 9)
    0.1666666716337204
    """
    with torch.autocast(weight.device.type, enabled=False):
        energy = weight.float().square().sum(dim=(2, 3))
        return (F.linear(style.float().square(), energy) + epsilon).rsqrt()


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    *,
    demodulate: bool = True,
    ring: Tensor | None = None,
    upsample_kernel: Tensor | None = None,
) -> Tensor:
    """Modulates, pads, convolves, demodulates.

    The style carries the factor 1/√fan_in of the equalized learning rate. Demodulation cancels it, but it keeps the
    sums inside the range of float16; the ring, which no style multiplies, gets the same factor.

    Args:
        x: (B, I, R, R).
        weight: (O, I, k, k) as stored, k = 1 or 3.
        style: (B, I).
        demodulate: normalises each output channel; off in toRGB.
        ring: (B, I, 4R + 4), the padding of a 3×3 convolution at stride 1; zeros if absent.
        upsample_kernel: if given, a transposed convolution of stride 2 followed by this filter, (4, 4).

    Returns:
        (B, O, R, R), or (B, O, 2R, 2R) when upsampling.
    """
    gain = 1 / math.sqrt(weight[0].numel())
    style = style * gain
    x = x * style[:, :, None, None].to(x.dtype)
    if upsample_kernel is not None:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        x = blur(x, upsample_kernel, padding=1, gain=4)
    elif ring is not None:
        x = F.conv2d(pad_with_ring(x, ring * gain), weight)
    else:
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    if demodulate:
        x = x * demodulation(weight, style, EPSILON * gain**2)[:, :, None, None].to(x.dtype)
    return x
