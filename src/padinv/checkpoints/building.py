"""Builds a network from a configuration and a state dict. The network is never larger than the state dict.

Networks are float32 and on the CPU, whatever torch's defaults are.
"""

from __future__ import annotations

from math import prod
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from padinv.checkpoints.formats.state_dicts import MOST_LAYERS, Config, State, brief
from padinv.exceptions import CheckpointError
from padinv.networks import Generator

Network = TypeVar("Network", bound=nn.Module)

NOISE = ".noise"
"""The endings of keys of noise images."""

RANDOM = (Tensor.normal_, Tensor.uniform_, nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_)
"""Functions that draw the first weights of layers, in place."""

FACTORIES = (torch.empty, torch.full, torch.ones, torch.randn, torch.zeros)


class Plain(TorchFunctionMode):
    """Makes tensors in float32 on the CPU, whatever ``torch.set_default_dtype`` and ``set_default_device`` say."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in FACTORIES:
            kwargs["dtype"] = kwargs.get("dtype") or torch.float32
        if function in FACTORIES or function is torch.tensor:
            kwargs["device"] = kwargs.get("device") or "cpu"
        return function(*args, **kwargs)


class _Unfilled(TorchFunctionMode):
    """Draws no random weights: the file's own replace them all, and drawing would take half of the time."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in RANDOM:
            return args[0] if args else kwargs["tensor"]
        return (torch.zeros if function is torch.randn else function)(*args, **(kwargs or {}))


class _Limit(TorchFunctionMode):
    """Raises CheckpointError once more numbers or tensors are made: a file's configuration can claim any size."""

    def __init__(self, numbers: int, tensors: int, refusal: str) -> None:
        self.numbers, self.tensors, self.refusal = numbers, tensors, refusal

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in FACTORIES:
            size = args[0] if args and isinstance(args[0], tuple | list) else args
            self.numbers -= prod(size) if all(isinstance(one, int) for one in size) else 0
            self.tensors -= 1  # empty ones take memory, too
            if self.numbers < 0 or self.tensors < 0:
                raise CheckpointError(self.refusal)
        return function(*args, **(kwargs or {}))


class Bounded(_Limit):
    """Bounds what a run's arguments may make: a checkpoint of kilobytes can ask for a width of a million.

    Generators, discriminators and feature networks are not in the checkpoint of an encoder, and come on top.

    Args:
        content: what the checkpoint holds.
        source: what the message calls it.
    """

    def __init__(self, content: Any, source: str) -> None:
        state = content.get("state_dict") if isinstance(content, dict) else None
        tensors = [value for value in state.values() if isinstance(value, Tensor)] if isinstance(state, dict) else []
        numbers = 2**28 + 4 * sum(tensor.numel() for tensor in tensors)
        refusal = f"{source} has arguments that ask for far larger networks than its weights."
        super().__init__(numbers, 5_000 + 8 * len(tensors), refusal)


def build(kind: type[Network], config: Config, state: State, source: str) -> Network:
    """Builds a network whose weights are not yet loaded.

    Args:
        kind: its class.
        config: the arguments of the class, as a file has them.
        state: the state dict, which may lack ``w_avg``, or all noise images.
        source: what messages call the file.

    Raises:
        CheckpointError: if the configuration and the state do not belong together, or numbers are not finite.
        Exception: of any class, if the configuration makes no sense.
    """
    _check_size(config, state)
    # Shared tensors count once. Noise images, which a file may lack, are 3 million numbers at 1024 px.
    own = {(tensor.data_ptr(), tensor.shape): tensor.numel() for tensor in state.values()}
    refusal = "its weights are fewer than its configuration or the shape of some of them say."
    with Plain(), _Limit(2**22 + sum(own.values()), 1_000 + 8 * len(state), refusal), _Unfilled():
        network = cast("Network", kind.from_config(config))  # type: ignore[attr-defined]  # all of KINDS have it
    noiseless = not any(key.endswith(NOISE) for key in state)
    elsewhere = {
        key: tensor
        for key, tensor in network.state_dict().items()
        if key == "w_avg" or (noiseless and key.endswith(NOISE))
    }
    check_state(network, {**elsewhere, **state}, source)
    check_finite(state, source)
    return network


def _check_size(config: Config, state: State) -> None:
    """Raises CheckpointError if the configuration has more layers, or wider latents, than any network."""
    code = config.get("code") or {}
    numbers = [config.get("mapping_layers"), code.get("num_layers"), *(config.get("latents_per_level") or [])]
    if any(number is not None and not 0 <= int(number) <= MOST_LAYERS for number in numbers):
        raise CheckpointError("it speaks of more layers than any StyleGAN2 or encoder has.")
    # 16 times the usual width: a file of few weights must not ask for more.
    if any((config.get(name) or 0) > 8192 for name in ("z_dim", "w_dim", "mapping_width")):
        raise CheckpointError("it speaks of wider latents than any StyleGAN2 has.")
    for key, tensor in state.items():
        if not (tensor.is_floating_point() and tensor.element_size() > 1) and not key.endswith("num_batches_tracked"):
            raise CheckpointError(f"{brief(key)} holds {tensor.dtype}, which are no weights.")


def check_finite(state: State, source: str) -> None:
    """Raises CheckpointError, naming the first such key, if numbers are not finite in float32."""
    largest = torch.finfo(torch.float32).max
    for key, tensor in state.items():
        if tensor.numel() and not all(abs(end) <= largest for end in map(float, tensor.aminmax())):
            raise CheckpointError(
                f"{source} holds NaN or infinite numbers in {key!r}: its training has diverged, or it is damaged; "
                "take an earlier checkpoint."
            )


def check_state(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Raises CheckpointError, naming the first mismatching key and the shapes, unless the state fits the network."""
    name = type(network).__name__
    expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    for key, shape in expected.items():
        if key not in state:
            raise CheckpointError(f"{source} is of another architecture: it has no {key!r}, which this {name} needs.")
        if tuple(state[key].shape) != shape:
            raise CheckpointError(
                f"{source} is of another architecture: {key!r} has shape {tuple(state[key].shape)}, "
                f"but this {name} needs {shape}."
            )
    if unexpected := [key for key in state if key not in expected]:
        raise CheckpointError(f"{source} is of another architecture: this {name} has no {brief(unexpected[0])}.")


def draw_noise(network: nn.Module) -> State:
    """Draws the noise images of a network with the seed 0."""
    random = torch.Generator().manual_seed(0)
    return {
        key: torch.randn(tensor.shape, dtype=torch.float32, generator=random)
        for key, tensor in network.state_dict().items()
        if key.endswith(NOISE)
    }


def estimate_w_avg(generator: Generator, samples: int = 10_000, seed: int = 0) -> Tensor:
    """Estimates the mean latent (w_dim,) as the mean of mapped samples."""
    random = torch.Generator().manual_seed(seed)
    with torch.inference_mode(), Plain():
        z = torch.randn(samples, generator.config["z_dim"], generator=random)
        w: Tensor = generator.mapping(z.to(generator.w_avg.device))
    return w.mean(dim=0)
