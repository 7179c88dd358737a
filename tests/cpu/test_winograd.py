"""Winograd's algorithm is the convolution, and so are its derivatives those of the convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from padinv.cpu.winograd import (
    STRIP_TILES,
    conv3x3,
    transform_weight,
    winograd,
    winograd_input_gradient,
    winograd_pays,
    winograd_weight_gradient,
)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 4),
    st.booleans(),
    st.integers(0, 1),
)
def test_it_is_the_convolution(b: int, i: int, o: int, n: int, m: int, channels_last: bool, padding: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(b, i, 4 * n + 2 - 2 * padding, 4 * m + 2 - 2 * padding, dtype=torch.float64)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(o, i, 3, 3, dtype=torch.float64)
    for transformed in (None, transform_weight(weight)):
        actual = winograd(x, weight, transformed, padding)
        torch.testing.assert_close(actual, F.conv2d(x, weight, padding=padding), rtol=0, atol=1e-11)


@pytest.mark.parametrize("padding", [0, 1])
def test_gradients_of_first_and_second_order(padding: int) -> None:
    x = torch.randn(2, 2, 10 - 2 * padding, 6 - 2 * padding, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(winograd, (x, weight, None, padding))
    assert torch.autograd.gradgradcheck(winograd, (x, weight, None, padding))


def test_a_frozen_weight_needs_no_map() -> None:
    x, weight = torch.randn(1, 2, 10, 10, requires_grad=True), torch.randn(3, 2, 3, 3)
    for frozen in (True, False):
        saved: list[torch.Size] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=saved: s.append(t.shape), lambda _: None):
            winograd(x, weight.clone().requires_grad_(not frozen))
        assert (x.shape in saved) is not frozen


def test_gradients_are_those_of_the_convolution() -> None:
    x = torch.randn(2, 128, 34, 34, requires_grad=True)
    weight = torch.randn(160, 128, 3, 3, requires_grad=True)
    assert winograd_pays(x, weight)
    g = torch.randn(2, 160, 32, 32)
    actual = torch.autograd.grad((conv3x3(x, weight) * g).sum(), (x, weight))
    expected = torch.autograd.grad((F.conv2d(x, weight) * g).sum(), (x, weight))
    for a, e in zip(actual, expected, strict=True):
        assert (a - e).abs().max() < 1e-4 * e.abs().max()


@pytest.mark.parametrize(("channels", "size"), [(512, 32), (256, 32), (128, 64)])
def test_rounding_is_a_hundred_thousandth(channels: int, size: int) -> None:
    x, weight = torch.randn(1, channels, size + 2, size + 2), torch.randn(channels, channels, 3, 3)
    exact = F.conv2d(x.double(), weight.double())
    assert (conv3x3(x, weight) - exact).abs().max() < 3e-5 * exact.abs().max()


@pytest.mark.parametrize("padding", [0, 1])
def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch, padding: int) -> None:
    size = 34 - 2 * padding
    x, weight = torch.randn(1, 8, size, size, dtype=torch.float64), torch.randn(8, 8, 3, 3, dtype=torch.float64)
    x.requires_grad_(), weight.requires_grad_()
    results = []
    for strip in (STRIP_TILES, 1):
        monkeypatch.setattr("padinv.cpu.winograd.STRIP_TILES", strip)
        y = winograd(x, weight, None, padding)
        results.append((y, *torch.autograd.grad(y.square().sum(), (x, weight))))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        (torch.zeros(1, 128, 35, 34), torch.zeros(128, 128, 3, 3)),
        (torch.zeros(1, 64, 34, 34), torch.zeros(128, 64, 3, 3)),
        (torch.zeros(1, 128, 18, 18), torch.zeros(128, 128, 3, 3)),
        (torch.zeros(1, 128, 34, 34, dtype=torch.bfloat16), torch.zeros(128, 128, 3, 3, dtype=torch.bfloat16)),
    ],
    ids=["size", "narrow", "small", "bfloat16"],
)
def test_where_it_does_not_pay(x: torch.Tensor, weight: torch.Tensor) -> None:
    assert not winograd_pays(x, weight)
    assert conv3x3(x, weight).shape == (1, 128, x.shape[2] - 2, x.shape[3] - 2)


def test_autocast_takes_torchs() -> None:
    x, weight = torch.zeros(1, 128, 34, 34), torch.zeros(128, 128, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd_pays(x, weight)
        assert conv3x3(x, weight).dtype == torch.bfloat16


def test_in_a_compiled_graph() -> None:
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    x, weight, g = torch.randn(2, 2, 10, 6), torch.randn(3, 2, 3, 3), torch.randn(2, 3, 8, 4)
    for operator, args in (
        (winograd, (x, weight)),
        (winograd, (x, weight, transform_weight(weight))),
        (winograd_input_gradient, (g, weight)),
        (winograd_weight_gradient, (x, g)),
        (winograd, (x[:, :, 1:-1, 1:-1], weight, None, 1)),
        (winograd_input_gradient, (g, weight, None, 1)),
        (winograd_weight_gradient, (x[:, :, 1:-1, 1:-1], g, 1)),
    ):
        torch.library.opcheck(operator, args, test_utils=checks)
