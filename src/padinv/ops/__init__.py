"""Pure functions on tensors, and the two layers with an equalized learning rate."""

import einops.layers.torch  # noqa: F401  (tells Dynamo of torch 2.8 to take einops' functions as they are)

from padinv.cpu import conv3x3
from padinv.ops.equalized import EqualizedConv2d, EqualizedLinear, scaled_leaky_relu
from padinv.ops.modulated_conv import demodulation, modulated_conv2d
from padinv.ops.resampling import blur, blur_downsample, fir_kernel, upsample
from padinv.ops.ring import map_to_ring, pad_with_ring, ring_positions, ring_to_map, upsampled_ring

__all__ = [
    "EqualizedConv2d",
    "EqualizedLinear",
    "blur",
    "blur_downsample",
    "conv3x3",
    "demodulation",
    "fir_kernel",
    "map_to_ring",
    "modulated_conv2d",
    "pad_with_ring",
    "ring_positions",
    "ring_to_map",
    "scaled_leaky_relu",
    "upsample",
    "upsampled_ring",
]
