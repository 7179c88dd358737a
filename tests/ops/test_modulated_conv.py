from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from padinv.ops import blur, blur_downsample, demodulation, fir_kernel, modulated_conv2d, pad_with_ring, upsample


def per_sample_weights(x: Tensor, weight: Tensor, style: Tensor, ring: Tensor | None, demodulate: bool) -> Tensor:
    """The definition: one modulated weight for each sample, StyleGAN2's equations 1 and 3."""
    images = []
    for sample, s in zip(x, style, strict=True):
        w = weight * s[None, :, None, None]
        if demodulate:
            w = w / (w.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        else:
            w = w / weight[0].numel() ** 0.5
        if ring is None:
            images.append(F.conv2d(sample[None], w, padding=weight.shape[-1] // 2))
        else:
            # the ring is not modulated: undo the style where the weight would apply it
            padded = pad_with_ring(sample[None] * s[None, :, None, None], ring[len(images)][None])
            images.append(F.conv2d(padded / s[None, :, None, None], w))
    return torch.cat(images)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("with_ring", [True, False])
def test_equals_the_definition(demodulate: bool, with_ring: bool) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(3, 8, 4, 4), torch.randn(6, 8, 3, 3)
    style = torch.rand(3, 8) + 0.5
    ring = torch.randn(3, 8, 20) if with_ring else None
    ours = modulated_conv2d(x, weight, style, demodulate=demodulate, ring=ring)
    torch.testing.assert_close(ours, per_sample_weights(x, weight, style, ring, demodulate), rtol=1e-4, atol=1e-5)


def test_zero_ring_changes_nothing() -> None:
    x, weight, style = torch.randn(2, 8, 4, 4), torch.randn(6, 8, 3, 3), torch.randn(2, 8)
    with_ring = modulated_conv2d(x, weight, style, ring=torch.zeros(2, 8, 20))
    torch.testing.assert_close(with_ring, modulated_conv2d(x, weight, style), rtol=1e-5, atol=1e-6)


def test_upsampling_doubles_and_does_not_flip() -> None:
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 0, 0] = 1.0  # the top left tap reaches up and left of a pixel
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 4, 4] = 1.0
    y = modulated_conv2d(x, weight, torch.ones(1, 1), upsample_kernel=fir_kernel(), demodulate=False)
    assert y.shape == (1, 1, 16, 16)
    row = (y.sum(dim=3).flatten() * torch.arange(16)).sum() / y.sum()
    assert row.item() == pytest.approx(8.5 - 1 + 0.0, abs=0.6)
    assert row < 8.5


def test_float16_does_not_overflow() -> None:
    x, weight = torch.full((1, 512, 4, 4), 8.0), torch.full((4, 512, 3, 3), 3.0)
    style = torch.full((1, 512), 4.0)
    half = modulated_conv2d(x.half(), weight.half(), style.half(), ring=torch.full((1, 512, 20), 8.0))
    assert half.isfinite().all()
    full = modulated_conv2d(x, weight, style, ring=torch.full((1, 512, 20), 8.0))
    torch.testing.assert_close(half.float(), full, rtol=1e-2, atol=1e-2)


def test_demodulation_is_float32_under_autocast() -> None:
    weight, style = torch.randn(4, 8, 3, 3), torch.randn(2, 8)
    with torch.autocast("cpu", torch.bfloat16):
        d = demodulation(weight, style)
    assert d.dtype == torch.float32
    assert torch.equal(d, demodulation(weight, style))


def test_resampling_keeps_constants() -> None:
    ones = torch.ones(1, 2, 8, 8)
    kernel = fir_kernel()
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(upsample(ones, kernel)[inner], torch.ones(1, 2, 12, 12))
    torch.testing.assert_close(blur_downsample(ones, kernel)[:, :, 1:-1, 1:-1], torch.ones(1, 2, 2, 2))
    assert blur(ones, kernel, padding=(2, 2)).shape == (1, 2, 9, 9)


def test_samples_do_not_mix() -> None:
    x, weight, style = torch.randn(3, 8, 4, 4), torch.randn(6, 8, 3, 3), torch.randn(3, 8)
    together = modulated_conv2d(x, weight, style)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], modulated_conv2d(x[i : i + 1], weight, style[i : i + 1]))
