from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from padinv.export import doubling
from padinv.export.replacing import Replacing


@pytest.mark.parametrize("batch", [1, 3])
def test_it_is_the_transposed_convolution(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(batch, 5, 6, 4), torch.randn(5, 3, 3, 3)
    expected = F.conv_transpose2d(x, weight, stride=2, output_padding=1)
    calls = []
    double = doubling._double
    monkeypatch.setattr(doubling, "_double", lambda *args: calls.append(args) or double(*args))
    with Replacing({F.conv_transpose2d: doubling.conv_transpose2d}):
        actual = F.conv_transpose2d(x, weight, stride=2, output_padding=1)
    assert len(calls) == 1
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("options", [{"stride": 2}, {"stride": 2, "output_padding": 1, "padding": 1}])
def test_others_stay(options: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubling, "_double", None)
    x, weight = torch.randn(1, 5, 6, 4), torch.randn(5, 3, 3, 3)
    with Replacing({F.conv_transpose2d: doubling.conv_transpose2d}):
        actual = F.conv_transpose2d(x, weight, **options)
    assert torch.equal(actual, F.conv_transpose2d(x, weight, **options))
