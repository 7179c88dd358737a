"""From a file of unknown format to a network: ``load_generator``, ``load_discriminator``, ``load_encoder``.

A file's format is told by its content. Pickles are only ever read with ``torch.load(weights_only=True)``, which runs no
code of the file's author.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from padinv.checkpoints import hammer
from padinv.checkpoints.native import is_safetensors, read_native
from padinv.checkpoints.registry import resolve
from padinv.exceptions import CheckpointError
from padinv.networks import Discriminator, Generator, PadInvEncoder
from padinv.typing import PathLike

Network = TypeVar("Network", bound=nn.Module)

LIGHTNING_KEY = "padinv"
"""Where a Lightning checkpoint of PadInvModule keeps the configuration of its networks."""


def load_generator(source: PathLike) -> Generator:
    """Loads a generator, in evaluation mode and frozen.

    Args:
        source: the name of a bundled model ("congress64"), one of our safetensors files, or a checkpoint with the
            published implementation's keys (``models.generator_smooth``, else ``models.generator``, or a bare state
            dict). All sizes follow from the shapes.

    Returns:
        The generator with its mean latent. If the file holds none, it is the mean of 10,000 mapped samples.

    Raises:
        CheckpointError: if there is no such file or name, or it holds no StyleGAN2 generator.

    >>> generator = load_generator("congress64")
    >>> generator.resolution, generator.num_layers, generator.w_avg.shape
    (64, 10, torch.Size([256]))
    """
    path = resolve(source, "Generator")
    config, state = _read(path, Generator)
    generator = Generator(**config)
    w_avg = state.pop("w_avg", None)
    _load_state(generator, {**state, "w_avg": generator.w_avg if w_avg is None else w_avg}, path)
    if w_avg is None:
        generator.w_avg.copy_(estimate_w_avg(generator))
    return _freeze(generator)


def load_discriminator(source: PathLike) -> Discriminator:
    """Loads a discriminator, in evaluation mode and frozen.

    Args:
        source: as for :func:`load_generator`; in published checkpoints ``models.discriminator``.

    Raises:
        CheckpointError: if there is no such file or name, or it holds no StyleGAN2 discriminator.
    """
    path = resolve(source, "Discriminator")
    config, state = _read(path, Discriminator)
    discriminator = Discriminator(**config)
    _load_state(discriminator, state, path)
    return _freeze(discriminator)


def load_encoder(source: PathLike, w_avg: Tensor | None = None) -> PadInvEncoder:
    """Loads an encoder, in evaluation mode and frozen.

    Args:
        source: one of our safetensors files, a checkpoint of a ``padinv fit`` run, or a checkpoint with the published
            implementation's keys (``models.encoder``, or a bare state dict).
        w_avg: the mean latent (512,), which published encoder files do not hold; overrides the file's.

    Raises:
        CheckpointError: if there is no such file, it holds no encoder, or the mean latent is nowhere to be had.
    """
    path = resolve(source, "PadInvEncoder")
    config, state = _read(path, PadInvEncoder)
    encoder = PadInvEncoder.from_config(config)
    if w_avg is not None:
        state["w_avg"] = w_avg
    if "w_avg" not in state:
        raise CheckpointError(
            f"{path} holds an encoder without its average latent: keep models.generator.w_avg in the same file, or "
            "give it as load_encoder(path, w_avg=load_generator(...).w_avg)."
        )
    _load_state(encoder, state, path)
    return _freeze(encoder)


def estimate_w_avg(generator: Generator, samples: int = 10_000, seed: int = 0) -> Tensor:
    """The mean latent as the mean of mapped samples, (w_dim,)."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(samples, generator.config["z_dim"], generator=random)
    with torch.inference_mode():
        return generator.mapping(z.to(generator.w_avg.device)).mean(dim=0)


def _freeze(network: Network) -> Network:
    return network.requires_grad_(False).eval()


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
        raise CheckpointError(f"{source} is of another architecture: this {name} has no {unexpected[0]!r}.")


def _load_state(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    check_state(network, state, str(path))
    network.load_state_dict(state)


def _read(path: Path, network: type[nn.Module]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads the configuration and the state of one network, whatever the format."""
    if is_safetensors(path):
        name, config, state = read_native(path)
        if name != network.__name__:
            raise CheckpointError(f"{path} holds a {name}, not a {network.__name__}.")
        return config, state
    content = _torch_load(path)
    if LIGHTNING_KEY in content:
        return _read_lightning(content, network, path)
    return _read_hammer(content, network, path)


def _torch_load(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} cannot be read as tensors alone ({reason}); padinv never runs code from a checkpoint: "
            "save its state dict with torch.save."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dictionary of weights.")
    return content


def _read_lightning(
    content: dict[str, Any], network: type[nn.Module], path: Path
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A run's checkpoint: the encoder's moving average if the run kept one, else the encoder."""
    prefixes = {"PadInvEncoder": ["encoder_ema.module.", "encoder."], "Discriminator": ["discriminator."]}
    config = content[LIGHTNING_KEY].get(network.__name__)
    for prefix in prefixes.get(network.__name__, []):
        state = {key.removeprefix(prefix): t for key, t in content["state_dict"].items() if key.startswith(prefix)}
        if config is not None and state:
            return config, state
    raise CheckpointError(f"{path} is a training run's checkpoint without a {network.__name__}.")


HAMMER = {
    "Generator": (("generator_smooth", "generator"), hammer.GENERATOR_KEYS, hammer.read_generator),
    "Discriminator": (("discriminator",), hammer.DISCRIMINATOR_KEYS, hammer.read_discriminator),
    "PadInvEncoder": (("encoder",), hammer.ENCODER_KEYS, hammer.read_encoder),
}
"""For each network: its names in a published checkpoint, a pattern of its keys, its reader."""


def _read_hammer(
    content: dict[str, Any], network: type[nn.Module], path: Path
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The published implementation's ``{"models": {name: state_dict}}``, or a bare state dict."""
    names, keys, read = HAMMER[network.__name__]
    models = content.get("models", {})
    bare = content if any(keys.match(str(key)) for key in content) else None
    state = next((models[name] for name in names if models.get(name)), bare)
    if state is None:
        found = sorted(map(str, models or content))[:5]
        raise CheckpointError(f"{path} holds no {network.__name__} that padinv can read; it starts with {found}.")
    config, ours = read(dict(state))
    if network is PadInvEncoder:
        averages = [models[name]["w_avg"] for name in ("generator", "generator_smooth") if "w_avg" in models.get(name, {})]
        ours |= {"w_avg": average for average in averages[:1]}
    return config, ours
