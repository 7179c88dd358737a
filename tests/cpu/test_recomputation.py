"""Activation checkpointing changes what is kept for the backward pass, and nothing else."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from padinv import PadInvEncoder, load_generator
from padinv.codes import CodeShape
from padinv.cpu import recompute_activations


@pytest.fixture(params=["encoder", "synthesis"])
def networks(request: pytest.FixtureRequest, generator_file: str) -> tuple[nn.Module, nn.Module]:
    """A network in training mode, and a copy that computes its activations again."""
    generator = load_generator(generator_file)
    torch.manual_seed(0)
    network: nn.Module = generator.synthesis
    if request.param == "encoder":
        network = PadInvEncoder(
            generator.code_shape, resolution=32, depth=18, width=4, feature_resolutions=[32]
        ).train()
        nn.init.normal_(network.feature_heads["32"].output.weight)
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


class Counts(TorchDispatchMode):
    """How often each operator is called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_convolutions_are_not_computed_again_if_only_the_cheap_is(networks: Any) -> None:
    network, _ = networks
    cheap = copy.deepcopy(network.requires_grad_())
    recompute_activations(cheap, only_cheap=True)
    with Counts() as expected:
        run(network).mean().backward()
    with Counts() as counts:
        run(cheap).mean().backward()
    assert counts.calls["convolution"] == expected.calls["convolution"] > 0
    norms = expected.calls["native_batch_norm"]
    assert counts.calls["native_batch_norm"] == (2 * norms if isinstance(network, PadInvEncoder) else norms)


def held_bytes(network: nn.Module) -> int:
    """Memory that a forward pass takes and does not give back, wherever it is kept."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        output = run(network)
    assert output.requires_grad
    return sum(event.self_cpu_memory_usage for event in profiler.key_averages())


def test_half_is_kept_if_only_the_cheap_is_computed_again() -> None:
    torch.manual_seed(0)
    network = PadInvEncoder(CodeShape(4, 16, {4: 12, 8: 10}), resolution=32, depth=18, width=4).train()
    cheap, everything = copy.deepcopy(network), copy.deepcopy(network)
    recompute_activations(cheap, only_cheap=True)
    recompute_activations(everything)
    assert held_bytes(everything) < held_bytes(cheap) < 0.7 * held_bytes(network)


@pytest.mark.parametrize("only_cheap", [False, True])
def test_outputs_gradients_and_statistics_are_the_same(networks: Any, only_cheap: bool) -> None:
    network = networks[0].requires_grad_()
    other = copy.deepcopy(network)
    recompute_activations(other, only_cheap=only_cheap)
    outputs = [run(network), run(other)]
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().mean().backward()
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
