"""Activation checkpointing changes what is kept for the backward pass, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from padinv import PadInvEncoder, load_generator
from padinv.training.recomputation import recompute_activations


@pytest.fixture(params=["encoder", "synthesis"])
def networks(request: pytest.FixtureRequest, generator_file: str) -> tuple[nn.Module, nn.Module]:
    """A network in training mode, and a copy that computes its activations again."""
    generator = load_generator(generator_file)
    torch.manual_seed(0)
    network: nn.Module = generator.synthesis
    if request.param == "encoder":
        network = PadInvEncoder(generator.code_shape, resolution=32, depth=18, width=4).train()
    other = copy.deepcopy(network)
    recompute_activations(other)
    return network, other


def run(network: nn.Module) -> Tensor:
    """All that the network makes of an input that is always the same and needs a gradient itself."""
    torch.manual_seed(1)
    if isinstance(network, PadInvEncoder):
        return torch.cat([tensor.flatten() for tensor in network(torch.randn(4, 3, 32, 32)).tensors()])
    images: Tensor = network(torch.randn(4, 8, 16, requires_grad=True))
    return images


def kept_bytes(network: nn.Module) -> int:
    """What a forward pass keeps for the backward pass."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run(network)
    weights = {tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()}
    return sum(tensor.untyped_storage().nbytes() for address, tensor in kept.items() if address not in weights)


def test_less_is_kept(networks: Any) -> None:
    network, other = networks
    assert kept_bytes(other) < kept_bytes(network) / 2


@pytest.mark.parametrize(("minimum_size", "share"), [(1, 1.0), (8, 0.9), (64, 0.0)])
def test_only_large_maps_are_computed_again(networks: Any, minimum_size: int, share: float) -> None:
    network, all_of_it = networks
    some_of_it = copy.deepcopy(network)
    recompute_activations(some_of_it, minimum_size)
    saved = (kept_bytes(network) - kept_bytes(some_of_it)) / (kept_bytes(network) - kept_bytes(all_of_it))
    assert saved == pytest.approx(share, abs=0.1)


def test_outputs_gradients_and_statistics_are_the_same(networks: Any) -> None:
    outputs = [run(network.requires_grad_()) for network in networks]
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().mean().backward()
    network, other = networks
    assert list(other.state_dict()) == list(network.state_dict())
    for (name, buffer), same in zip(network.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(buffer, same), name
    for (name, parameter), same in zip(network.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(same.grad, parameter.grad, msg=name)


def test_it_can_be_asked_for_twice(networks: Any) -> None:
    _, other = networks
    kept = kept_bytes(other)
    recompute_activations(other)
    assert kept_bytes(other) == kept


def test_a_copy_has_weights_and_statistics_of_its_own(networks: Any) -> None:
    _, original = networks
    other = copy.deepcopy(original.requires_grad_())
    before = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    run(other).mean().backward()
    assert all(parameter.grad is None for parameter in original.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in original.state_dict().items())
    assert any(parameter.grad is not None for parameter in other.parameters())
    assert kept_bytes(other) == kept_bytes(original)


def test_without_gradients_nothing_is_computed_twice(networks: Any) -> None:
    network, other = networks
    calls: list[nn.Module] = []
    for module in other.modules():
        module.register_forward_hook(lambda module, *_: calls.append(module))
    with torch.no_grad():
        torch.testing.assert_close(run(other.eval()), run(network.eval()), rtol=0, atol=0)
    assert len(calls) == len(set(calls))
