"""Operators as they stand in an exported graph, against what they stand for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.export import operators
from padinv.export.operators import Replacing


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The sizes of the maps for which it is used."""
    sizes: list[torch.Size] = []
    convolve = operators._winograd

    def spy(x: Tensor, *args: object) -> Tensor:
        sizes.append(x.shape)
        return convolve(x, *args)

    monkeypatch.setattr(operators, "_winograd", spy)
    return sizes


@pytest.mark.parametrize(("batch", "size"), [(1, (16, 16)), (3, (16, 20))])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("bias", [None, torch.linspace(-1, 1, 160)])
def test_it_is_the_convolution(
    batch: int, size: tuple[int, int], padding: int, bias: Tensor | None, used: list[torch.Size]
) -> None:
    torch.manual_seed(0)
    x = torch.randn(batch, 128, *(side + 2 - 2 * padding for side in size))
    weight = torch.randn(160, 128, 3, 3) / 34
    with Replacing({F.conv2d: operators.conv2d}):
        actual = F.conv2d(x, weight, bias, padding=padding)
    assert used == [x.shape]
    expected = F.conv2d(x, weight, bias, padding=padding)
    torch.testing.assert_close(actual, expected, rtol=0, atol=3e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("conv", "size"),
    [
        (nn.Conv2d(128, 128, 3, padding=1, stride=2), 32),
        (nn.Conv2d(128, 128, 3, padding=2, dilation=2), 16),
        (nn.Conv2d(256, 256, 3, padding=1, groups=2), 16),
        (nn.Conv2d(128, 128, 3, padding=2), 18),
        (nn.Conv2d(128, 128, 3, padding="same"), 16),
        (nn.Conv2d(128, 128, 1), 16),
        (nn.Conv2d(64, 128, 3, padding=1), 16),
        (nn.Conv2d(128, 3, 3, padding=1), 16),
        (nn.Conv2d(128, 128, 3, padding=1), 8),
        (nn.Conv2d(128, 128, 3, padding=1), 18),
    ],
)
def test_other_convolutions_stay(conv: nn.Conv2d, size: int, used: list[torch.Size]) -> None:
    x = torch.randn(1, conv.in_channels, size, size)
    with Replacing({F.conv2d: operators.conv2d}):
        actual = conv(x)
    assert not used
    assert torch.equal(actual, conv(x))


def test_any_batch_in_an_exported_graph() -> None:
    conv = nn.Conv2d(128, 128, 3, padding=1)
    x = torch.randn(2, 128, 16, 16)
    with Replacing({F.conv2d: operators.conv2d}), torch.no_grad():
        program = torch.export.export(conv, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    assert any(
        node.target is torch.ops.aten.bmm.default or "matmul" in str(node.target) for node in program.graph.nodes
    )
    for batch in (1, 5):
        x = torch.randn(batch, 128, 16, 16)
        torch.testing.assert_close(program.module()(x), conv(x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 3])
def test_it_is_the_transposed_convolution(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(batch, 5, 6, 4), torch.randn(5, 3, 3, 3)
    expected = F.conv_transpose2d(x, weight, stride=2, output_padding=1)
    calls = []
    double = operators._double
    monkeypatch.setattr(operators, "_double", lambda *args: calls.append(args) or double(*args))
    with Replacing({F.conv_transpose2d: operators.conv_transpose2d}):
        actual = F.conv_transpose2d(x, weight, stride=2, output_padding=1)
    assert len(calls) == 1
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("options", [{"stride": 2}, {"stride": 2, "output_padding": 1, "padding": 1}])
def test_other_transposed_convolutions_stay(options: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "_double", None)
    x, weight = torch.randn(1, 5, 6, 4), torch.randn(5, 3, 3, 3)
    with Replacing({F.conv_transpose2d: operators.conv_transpose2d}):
        actual = F.conv_transpose2d(x, weight, **options)
    assert torch.equal(actual, F.conv_transpose2d(x, weight, **options))
