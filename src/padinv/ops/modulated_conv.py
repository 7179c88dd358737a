"""The style-modulated convolution of StyleGAN2 (Karras et al. 2019, section 2.2), with the padding ring of PadInv.

With s the style, w the weight and r the ring,  y = d · (w ∗ [x · s | r]) + b,  where [· | r] lays the ring around the
map *after* modulation, and d_o = 1 / √(Σ_ik (w_oik · s_i)² + ε) is the demodulation of output channel o.

Activations are scaled instead of the weight: the convolution then has one weight for the whole batch. d comes from a
product of matrices, since Σ_ik (w_oik · s_i)² = Σ_i (Σ_k w_oik²) · s_i².
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from padinv.cpu import FrozenWeight, conv3x3, transposed_conv3x3
from padinv.ops.resampling import blur
from padinv.ops.ring import pad_with_ring, upsampled_ring

EPSILON = 1e-8  # as published


def demodulation(weight: Tensor, style: Tensor, epsilon: float = EPSILON, energy: Tensor | None = None) -> Tensor:
    """1 / √(Σ_ik (w_oik · s_i)² + ε), in float32 even under autocast: it is a sum of many squares.

    Args:
        weight: (O, I, k, k).
        style: (B, I).
        epsilon: keeps the root away from zero.
        energy: Σ_k w_oik², (O, I), if already computed.

    Returns:
        (B, O), float32.

    >>> demodulation(torch.full((1, 4, 1, 1), 3.0), torch.ones(1, 4)).item()  # 1 / √(4 · 9)
    0.1666666716337204
    """
    with torch.autocast(weight.device.type, enabled=False):
        if energy is None:
            energy = weight.float().square().sum(dim=(2, 3))
        return (F.linear(style.float().square(), energy) + epsilon).rsqrt()


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    *,
    demodulate: bool = True,
    ring: Tensor | None = None,
    scale_ring: bool = False,
    upsample_kernel: Tensor | None = None,
    bias: Tensor | None = None,
    gain: float = 1.0,
    frozen: FrozenWeight | None = None,
) -> Tensor:
    """Modulates, pads, convolves, demodulates, and adds the bias.

    The style carries the factor 1/√fan_in of the equalized learning rate. Demodulation cancels it, but it keeps the
    sums inside the range of float16; the ring, which no style multiplies, gets the same factor.

    Args:
        x: (B, I, R, R).
        weight: (O, I, 3, 3) as stored.
        style: (B, I).
        demodulate: whether to normalise each output channel.
        ring: (B, I, 4R + 4), the padding; zeros if absent. When upsampling, (B, I, 8R + 4), which is added where it
            lies (:func:`padinv.ops.ring.upsampled_ring`).
        scale_ring: whether the style multiplies the ring, too; as published it does not.
        upsample_kernel: if given, a transposed convolution of stride 2, followed by this filter, (4, 4).
        bias: (O,).
        gain: factor on the result.
        frozen: what :func:`padinv.cpu.fold` has computed from the weight.

    Returns:
        (B, O, R, R), or (B, O, 2R, 2R) when upsampling.
    """
    energy, transformed, taps = frozen or (None, None, None)
    scale = 1 / math.sqrt(weight[0].numel())
    style = style * scale
    x = x * style[:, :, None, None].to(x.dtype)
    if ring is not None:
        ring = ring * (style[:, :, None].to(ring.dtype) if scale_ring else scale)
    if upsample_kernel is not None:
        doubled = transposed_conv3x3(x, weight, taps)
        x = blur(doubled, upsample_kernel, padding=(1, 0), gain=4)
        if ring is not None:
            x = x + upsampled_ring(ring.to(x.dtype), weight, x.shape[-1])
    elif ring is not None:
        x = conv3x3(pad_with_ring(x, ring), weight, transformed=transformed)
    else:
        x = conv3x3(x, weight, padding=1, transformed=transformed)
    factor = torch.full_like(style[:, :1], gain)
    if demodulate:
        factor = demodulation(weight, style, EPSILON * scale**2, energy) * gain
    factor = factor[:, :, None, None].to(x.dtype)
    if bias is not None:
        bias = (bias * gain)[:, None, None].to(x.dtype)
    if torch.is_grad_enabled() or torch.compiler.is_compiling():  # addcmul would keep one more map
        x = x * factor
        return x if bias is None else x.add_(bias)  # no gradient needs the map before
    return x.mul_(factor) if bias is None else torch.addcmul(bias, x, factor, out=x)


def modulated_conv1x1(x: Tensor, weight: Tensor, style: Tensor) -> Tensor:
    """Modulated 1×1 convolution without demodulation, for toRGB: with few outputs, modulating the weight is cheaper.

    Args:
        x: (B, I, R, R).
        weight: (O, I, 1, 1).
        style: (B, I).

    Returns:
        (B, O, R, R).
    """
    modulated = weight.flatten(1) * (style[:, None] / math.sqrt(weight[0].numel()))
    modulated = modulated.to(x.dtype)
    # Maps stay in the order they have in memory: channels-last here, where it is fast; never in an exported graph.
    if torch.compiler.is_exporting():
        return rearrange(modulated @ rearrange(x, "b i h w -> b i (h w)"), "b o (h w) -> b o h w", h=x.shape[2])
    y = rearrange(x, "b i h w -> b (h w) i") @ rearrange(modulated, "b o i -> b i o")
    return rearrange(y, "b (h w) o -> b o h w", h=x.shape[2])
