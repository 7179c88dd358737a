from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from padinv.cpu.doubling import split_taps, transposed_conv3x3


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("given", [False, True])
def test_it_is_the_transposed_convolution(batch: int, memory_format: torch.memory_format, given: bool) -> None:
    x = torch.randn(batch, 5, 6, 4).contiguous(memory_format=memory_format).requires_grad_()
    weight = torch.randn(3, 5, 3, 3).contiguous(memory_format=memory_format).requires_grad_()
    actual = transposed_conv3x3(x, weight, split_taps(weight) if given else None)
    expected = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    assert actual.shape == (batch, 3, 14, 10)
    torch.testing.assert_close(actual[:, :, :-1, :-1], expected)
    assert not actual[:, :, -1].any()
    assert not actual[:, :, :, -1].any()

    g = torch.randn_like(expected)
    with torch.no_grad():
        alone = transposed_conv3x3(x, weight)
    assert torch.equal(alone, actual)
    assert alone.is_contiguous(memory_format=torch.channels_last)

    gradients = (torch.autograd.grad((y * g).sum(), (x, weight)) for y in (actual[:, :, :-1, :-1], expected))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_other_devices_take_torchs() -> None:
    x, weight = torch.zeros(1, 5, 6, 4, device="meta"), torch.zeros(3, 5, 3, 3, device="meta")
    assert transposed_conv3x3(x, weight).shape == (1, 3, 14, 10)
