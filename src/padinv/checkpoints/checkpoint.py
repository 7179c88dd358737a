"""From a file of any known format to a network: ``load_generator``, ``load_discriminator``, ``load_encoder``.

A file's format is told by its content, and all sizes by its shapes. No code in it is run (:mod:`.pickles.machine`). The
networks are float32 and on the CPU, whatever the file's numbers and torch's defaults are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from padinv.checkpoints.formats.lightning import LIGHTNING_KEY
from padinv.checkpoints.formats.recognition import Content, read_content
from padinv.checkpoints.formats.state_dicts import MOST_LAYERS, Config, State, brief
from padinv.checkpoints.sources import resolve_source
from padinv.exceptions import CheckpointError, PadInvError
from padinv.networks import Discriminator, Generator, PadInvEncoder
from padinv.networks.encoder import pyramid_sizes
from padinv.typing import PathLike

__all__ = [
    "LIGHTNING_KEY",
    "check_state",
    "estimate_w_avg",
    "load_discriminator",
    "load_encoder",
    "load_generator",
    "read_network",
]

Network = TypeVar("Network", bound=nn.Module)

AnyNetwork: TypeAlias = Generator | Discriminator | PadInvEncoder

BUILDERS: dict[str, Callable[[Config], AnyNetwork]] = {
    "Generator": lambda config: Generator(**config),
    "Discriminator": Discriminator.from_config,
    "PadInvEncoder": PadInvEncoder.from_config,
}

NOISE = ".noise"
"""With which keys of noise images end."""

logger = logging.getLogger("padinv")


def load_generator(source: PathLike, *, sha256: str | None = None, class_index: int | None = None) -> Generator:
    """Loads a generator, in evaluation mode and frozen.

    Args:
        source: the name of a bundled model ("congress64"), a path, ``https://…`` (with ``sha256``), or
            ``hf://owner/repository/file`` for a file on the Hugging Face Hub. The file is our safetensors, or of
            PadInv, Hammer and GenForce (.pth), rosinality, pSp, e4e (.pt), NVIDIA's StyleGAN2-ADA or StyleGAN2 for
            TensorFlow (.pkl). Averaged weights go first where a file has others, too.
        sha256: what the file's SHA-256 must be, hexadecimal.
        class_index: the class of a conditional generator, from 0 up, which the loaded generator then always makes.

    Returns:
        The generator with its mean latent and noise images. If the file holds none, the latent is the mean of 10,000
        mapped samples, the images are drawn with the seed 0, and a warning is logged.

    Raises:
        CheckpointError: if there is no such file or name, it is damaged, or it holds no StyleGAN2 generator.
        WeightsNotFoundError: if it cannot be fetched.
        MissingPackageError: if ``hf://`` lacks its package.

    >>> generator = load_generator("congress64")
    >>> generator.resolution, generator.num_layers, generator.w_avg.shape
    (64, 10, torch.Size([256]))
    """
    path = resolve_source(source, "Generator", sha256)
    network, state = read_network(read_content(path), "Generator", path, class_index)
    if not any(key.endswith(NOISE) for key in state):
        state |= _draw_noise(network)
        logger.warning("%s holds no noise images: they are now drawn at random (seed 0).", path)
    generator = _fill(network, state, Generator)
    if "w_avg" not in state:
        generator.w_avg.copy_(estimate_w_avg(generator))
        logger.warning("%s holds no mean latent w_avg: it is now the mean of 10,000 mapped samples (seed 0).", path)
    return generator


def load_discriminator(source: PathLike, *, sha256: str | None = None, class_index: int | None = None) -> Discriminator:
    """Loads a discriminator, in evaluation mode and frozen.

    Args:
        source: as for :func:`load_generator`.
        sha256: what the file's SHA-256 must be, hexadecimal.
        class_index: the class of a conditional discriminator, from 0 up, for which the loaded one then always scores.

    Raises:
        CheckpointError: if there is no such file or name, it is damaged, or it holds no StyleGAN2 discriminator.
        WeightsNotFoundError: if it cannot be fetched.
        MissingPackageError: if ``hf://`` lacks its package.
    """
    path = resolve_source(source, "Discriminator", sha256)
    network, state = read_network(read_content(path), "Discriminator", path, class_index)
    return _fill(network, state, Discriminator)


def load_encoder(source: PathLike, w_avg: Tensor | None = None, *, sha256: str | None = None) -> PadInvEncoder:
    """Loads an encoder, in evaluation mode and frozen.

    Args:
        source: as for :func:`load_generator`; a checkpoint of a ``padinv fit`` run, one of our safetensors files, of
            PadInv (.pth), or of pSp and e4e (.pt), whose encoders predict W+ without padding.
        w_avg: the mean latent (512,), which published encoder files do not hold; overrides the file's.
        sha256: what the file's SHA-256 must be, hexadecimal.

    Raises:
        CheckpointError: if there is no such file, it is damaged, it holds no encoder, or the mean latent is nowhere to
            be had.
        WeightsNotFoundError: if it cannot be fetched.
        MissingPackageError: if ``hf://`` lacks its package.
    """
    path = resolve_source(source, "PadInvEncoder", sha256)
    network, state = read_network(read_content(path), "PadInvEncoder", path)
    if w_avg is not None:
        state["w_avg"] = w_avg
        check_state(network, state, "w_avg")
        check_finite({"w_avg": w_avg}, "w_avg")
    if "w_avg" not in state:
        raise CheckpointError(
            f"{path} holds an encoder without its average latent: keep models.generator.w_avg in the same file, or "
            "give it as load_encoder(path, w_avg=load_generator(...).w_avg)."
        )
    return _fill(network, state, PadInvEncoder)


def _draw_noise(network: nn.Module) -> State:
    random = torch.Generator().manual_seed(0)
    return {
        key: torch.randn(tensor.shape, dtype=torch.float32, generator=random)
        for key, tensor in network.state_dict().items()
        if key.endswith(NOISE)
    }


def estimate_w_avg(generator: Generator, samples: int = 10_000, seed: int = 0) -> Tensor:
    """The mean latent as the mean of mapped samples, (w_dim,)."""
    random = torch.Generator().manual_seed(seed)
    with torch.inference_mode(), _Plain():
        z = torch.randn(samples, generator.config["z_dim"], generator=random)
        w: Tensor = generator.mapping(z.to(generator.w_avg.device))
    return w.mean(dim=0)


FACTORIES = (torch.empty, torch.full, torch.ones, torch.randn, torch.zeros)


class _Plain(TorchFunctionMode):
    """Makes tensors in float32 on the CPU, whatever ``torch.set_default_dtype`` and ``set_default_device`` say."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in FACTORIES:
            self.count(args[0] if args and isinstance(args[0], tuple | list) else args)
            kwargs["dtype"] = kwargs.get("dtype") or torch.float32
        if function in FACTORIES or function is torch.tensor:
            kwargs["device"] = kwargs.get("device") or "cpu"
        return function(*args, **kwargs)

    def count(self, size: Sequence[int]) -> None:
        """Is told of each tensor before it is made."""


class _Allowance(_Plain):
    """Stops the making of tensors once they are more than a state dict has: configurations can claim anything."""

    def __init__(self, state: State) -> None:
        # What several keys share is there once. Noise images that the file lacks are 3 million numbers at 1024 px.
        own = {(tensor.data_ptr(), tensor.shape): tensor.numel() for tensor in state.values()}
        self.left = 2**22 + sum(own.values())
        self.tensors = 1_000 + 8 * len(state)  # empty ones take memory, too

    def count(self, size: Sequence[int]) -> None:
        """Raises CheckpointError if nothing is left."""
        self.left -= prod(size)
        self.tensors -= 1
        if self.left < 0 or self.tensors < 0:
            raise CheckpointError("its weights are fewer than its configuration or the shape of some of them say.")


def read_network(content: Content, name: str, path: Path, class_index: int | None = None) -> tuple[AnyNetwork, State]:
    """Reads one network, and checks that its configuration and its state belong together.

    Args:
        content: of the file.
        name: "Generator", "Discriminator" or "PadInvEncoder".
        path: the file, for the error message.
        class_index: the class of a conditional network.

    Returns:
        The network, its weights not yet loaded, and its state dict, which may lack ``w_avg``, or all noise images.

    Raises:
        CheckpointError: if the network is not there, is of another architecture, or lacks or does not take the class.
    """
    if name not in content.readers:
        found = " and ".join(content.readers)
        raise CheckpointError(f"{path} holds no {name}, but a {found} ({content.format}).")
    if class_index is not None and not content.classes:
        raise CheckpointError(f"{path} is not conditional: leave out class_index.")
    try:
        with _Plain():
            config, state = content.readers[name](class_index)
        _check_size(config, state)
        with _Allowance(state):
            network = BUILDERS[name](config)
        noiseless = not any(key.endswith(NOISE) for key in state)
        elsewhere = {
            key: tensor
            for key, tensor in network.state_dict().items()
            if key == "w_avg" or (noiseless and key.endswith(NOISE))
        }
        check_state(network, {**elsewhere, **state}, str(path))
        check_finite(state, str(path))
    except PadInvError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{path} is of another architecture: {error}") from error
    except Exception as error:  # a damaged file, or one made to do harm, can break any step in any way
        raise CheckpointError(
            f"{path} is damaged or of another architecture: its {name} makes no sense ({type(error).__name__})."
        ) from error
    if isinstance(network, PadInvEncoder) and "padding_level" not in config:
        _say_if_level_changed(network, path)
    return network, state


def _say_if_level_changed(encoder: PadInvEncoder, path: Path) -> None:
    """Warns of a file from before ``padding_level`` was an option: the level was the nearest to the largest ring."""
    sizes = pyramid_sizes(encoder.resolution)
    before = min(range(3), key=lambda level: abs(sizes[level] - max([4, *encoder.padded_resolutions])))
    if encoder.padding_head is not None and before != encoder.padding_level:
        logger.warning(
            "%s does not say which level of the pyramid its padding comes from: it is level %d now, as published. If "
            "padinv trained it before padding_level was an option, it was level %d.",
            path,
            encoder.padding_level,
            before,
        )


def _check_size(config: Config, state: State) -> None:
    """Raises CheckpointError if the configuration speaks of more layers, or wider latents, than there can be."""
    code = config.get("code") or {}
    numbers = [config.get("mapping_layers"), code.get("num_layers"), *(config.get("latents_per_level") or [])]
    if any(number is not None and not 0 <= int(number) <= MOST_LAYERS for number in numbers):
        raise CheckpointError("it speaks of more layers than any StyleGAN2 or encoder has.")
    if any((config.get(name) or 0) > 8192 for name in ("z_dim", "w_dim", "mapping_width")):
        raise CheckpointError("it speaks of wider latents than any StyleGAN2 has.")
    for key, tensor in state.items():
        if not (tensor.is_floating_point() and tensor.element_size() > 1) and not key.endswith("num_batches_tracked"):
            raise CheckpointError(f"{brief(key)} holds {tensor.dtype}, which are no weights.")


def check_finite(state: State, source: str) -> None:
    """Raises CheckpointError, naming the first such key, if there are numbers that are no finite float32."""
    largest = torch.finfo(torch.float32).max
    for key, tensor in state.items():
        if tensor.numel() and not all(abs(end) <= largest for end in map(float, tensor.aminmax())):
            raise CheckpointError(
                f"{source} holds NaN or infinite numbers in {key!r}: its training has diverged, or it is damaged; "
                "take an earlier checkpoint."
            )


def _fill(network: AnyNetwork, state: State, kind: type[Network]) -> Network:
    """Loads the weights, of which ``w_avg`` may be missing, and freezes the network."""
    if not isinstance(network, kind):
        raise TypeError(f"BUILDERS makes a {type(network).__name__} of a {kind.__name__}.")
    network.load_state_dict(state, strict=False)
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
        raise CheckpointError(f"{source} is of another architecture: this {name} has no {brief(unexpected[0])}.")
