from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from padinv.cpu import fuse_on_cpus

OPTIMIZERS = [
    torch.optim.Adam,
    partial(torch.optim.Adam, betas=(0.0, 0.99), amsgrad=True),
    partial(torch.optim.AdamW, weight_decay=0.1),
    partial(torch.optim.SGD, lr=0.01, momentum=0.9),
    torch.optim.Adagrad,
]


def trained(make: Any, *, fuse: bool) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.PReLU(), nn.Conv2d(8, 1, 3)).to(memory_format=torch.channels_last)
    optimizer = make(network.parameters())
    if fuse:
        fuse_on_cpus(optimizer)
        assert all(group["fused"] for group in optimizer.param_groups)
    for _ in range(5):
        network(torch.randn(2, 3, 8, 8)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return network


@pytest.mark.parametrize("make", OPTIMIZERS, ids=str)
def test_steps_are_the_same(make: Any) -> None:
    for fused, plain in zip(trained(make, fuse=True).parameters(), trained(make, fuse=False).parameters(), strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-6)


def test_moments_of_another_order_are_laid_out_as_the_weights_are() -> None:
    def weights(*, fuse: bool, other_order: bool) -> Tensor:
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(8, 4, 3, 3).contiguous(memory_format=torch.channels_last))
        optimizer = torch.optim.Adam([weight], 1e-2)
        for step in range(4):
            if step == 2 and other_order:
                for name in ("exp_avg", "exp_avg_sq"):
                    optimizer.state[weight][name] = optimizer.state[weight][name].contiguous()
            if fuse:
                fuse_on_cpus(optimizer)
            weight.grad = torch.randn(8, 4, 3, 3).contiguous(memory_format=torch.channels_last)
            optimizer.step()
        return weight.detach()

    expected = weights(fuse=False, other_order=False)
    torch.testing.assert_close(weights(fuse=True, other_order=True), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", [{"fused": False}, {"foreach": True}, {"differentiable": True}], ids=str)
def test_what_was_asked_for_stays(options: dict[str, Any]) -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.ones(2))], **options)
    fuse_on_cpus(optimizer)
    assert optimizer.param_groups[0]["fused"] is options.get("fused")


@pytest.mark.parametrize(
    "optimizer",
    [
        torch.optim.Adam([nn.Parameter(torch.ones(2, device="meta"))]),
        torch.optim.Adam([nn.Parameter(torch.ones(2, dtype=torch.complex64))]),
        torch.optim.NAdam([nn.Parameter(torch.ones(2))]),
    ],
    ids=["another device", "complex", "no fused step"],
)
def test_what_cannot_be_fused_stays(optimizer: torch.optim.Optimizer) -> None:
    fuse_on_cpus(optimizer)
    assert not optimizer.param_groups[0].get("fused")


def test_groups_are_decided_upon_one_by_one() -> None:
    groups = [{"params": [nn.Parameter(torch.ones(2))], "fused": fused} for fused in (None, False)]
    optimizer = torch.optim.Adam(groups)
    fuse_on_cpus(optimizer)
    assert [group["fused"] for group in optimizer.param_groups] == [True, False]
