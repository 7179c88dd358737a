"""The blur has a derivative of its own, which keeps no map."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from padinv.ops.resampling import blur, fir_kernel


@pytest.mark.parametrize("padding", [(1, 1), (2, 2), (1, 0), (2, 3)])
@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_derivatives_are_those_of_the_plain_convolution(padding: tuple[int, int], gain: float) -> None:
    torch.manual_seed(0)
    kernel = fir_kernel().double()

    def plain(x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (*padding, *padding)), (kernel * gain).expand(3, 1, 4, 4), groups=3)

    x = torch.randn(2, 3, 6, 8, dtype=torch.float64, requires_grad=True)
    results = []
    for function in (plain, lambda x: blur(x, kernel, padding=padding, gain=gain)):
        y = function(x)
        (first,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        results.append((y, first, second))
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected)


def test_no_map_is_kept_for_the_gradient() -> None:
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    x = torch.randn(1, 3, 8, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        blur(x, fir_kernel(), padding=(1, 1))
    assert sum(tensor.numel() for tensor in kept) <= 16  # the filter


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast(dtype: torch.dtype) -> None:
    x = torch.randn(1, 3, 8, 8, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = blur(x, fir_kernel(), padding=(2, 2))
    y.float().sum().backward()
    assert x.grad is not None
    assert (y.dtype, x.grad.dtype) == (torch.bfloat16, dtype)
    middle = x.grad[..., 2:-2, 2:-2]  # of the map, where all of the filter lies within it: its sum
    torch.testing.assert_close(middle, torch.ones_like(middle), rtol=0.01, atol=0.01)
