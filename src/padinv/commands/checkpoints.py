"""Commands on checkpoints: what a file holds, and its networks as padinv's own files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from padinv.checkpoints import load_discriminator, load_encoder, load_generator, open_checkpoint, save_network
from padinv.checkpoints.building import NOISE
from padinv.checkpoints.formats.state_dicts import Kind, State
from padinv.checkpoints.sources import is_bundled, resolve_all
from padinv.exceptions import CheckpointError, PadInvError, printable
from padinv.files import writing
from padinv.networks import Discriminator, Generator, PadInvEncoder
from padinv.options import Command, option

NETWORKS: dict[str, Kind] = {"generator": Generator, "discriminator": Discriminator, "encoder": PadInvEncoder}
LOADERS: dict[Kind, Callable[..., nn.Module]] = {
    Generator: load_generator,
    Discriminator: load_discriminator,
    PadInvEncoder: load_encoder,
}


@dataclass
class Inspect(Command):
    """Tell what a checkpoint holds.

    Args:
        source: a path, the name of a bundled model, https://… with --sha256, or hf://owner/repository/file.
        sha256: what the file's SHA-256 must be.
    """

    source: str = option(metavar="FILE")
    sha256: str | None = option(None)

    def run(self) -> int:
        """Prints what the file holds."""
        for number, path in enumerate(resolve_all(self.source, self.sha256)):
            print(*([""] if number else []), *map(printable, describe(path, self.source)), sep="\n")
        return 0


def describe(path: Path, source: str | None = None) -> Iterator[str]:
    """Describes what a file holds, line by line.

    Args:
        path: of the file.
        source: what the user named, if it was not the path.

    Raises:
        CheckpointError: if it cannot be read.
    """
    checkpoint = open_checkpoint(path)
    classes = checkpoint.classes
    yield f"file:          {path} ({path.stat().st_size / 1e6:.1f} MB)"
    yield f"format:        {checkpoint.format}"
    if classes:
        yield f"classes:       {classes}; choose one with class_index"
    name = source if source is not None and is_bundled(source) else str(path)
    loadable = []
    for kind, loader in LOADERS.items():
        if kind in checkpoint.holds:
            try:
                network, state = checkpoint.read(kind, 0 if classes else None)
                facts = _facts(network, state)
                chosen = ", class_index=0" if classes and kind is not PadInvEncoder else ""
                loadable.append(f"padinv.{loader.__name__}({name!r}{chosen})")
            except PadInvError as error:
                facts = f"cannot be loaded: {error}"
            yield f"{kind.__name__ + ':':<15}{facts}"
    yield f"load with:     {', '.join(loadable) or 'nothing: none of it fits'}"


def _facts(network: nn.Module, state: State) -> str:
    kind = type(network)
    config: dict[str, Any] = network.config  # type: ignore[assignment]  # all of padinv's networks have it
    million = sum(tensor.numel() for tensor in state.values()) / 1e6
    if kind is PadInvEncoder:
        code = config["code"]
        family = "IResNet-SE"
        rings = ", ".join(map(str, config.get("padded_resolutions") or []))
        sizes = (
            f"depth {config['depth']}, {config['resolution']} px, {code['num_layers']} latents of {code['w_dim']}, "
            + (f"padding at {rings} px" if rings else "W+ without padding")
        )
    else:
        family = "StyleGAN2"
        sizes = f"{config['resolution']} px"
        if kind is Generator:
            layers = 2 * config["resolution"].bit_length() - 4
            sizes += (
                f", {layers} latents of {config['w_dim']}, z of {config['z_dim']}, "
                f"{config['mapping_layers']} mapping layers"
            )
        sizes += f", channels {', '.join(f'{r}: {width}' for r, width in sorted(config['channels'].items()))}"
    if (bound := config.get("conv_clamp")) is not None:
        sizes += f", activations clamped at ±{bound:g}"
    if kind is Discriminator and config["mbstd_group_size"] != 4:
        sizes += f", minibatch statistic of {config['mbstd_group_size'] or 'all'} images"
    if kind is Generator and not any(key.endswith(NOISE) for key in state):
        sizes += ", noise images missing (drawn when loaded)"
    average = "" if kind is Discriminator else f", w_avg {'in the file' if 'w_avg' in state else 'missing'}"
    if average.endswith("missing"):
        average += " (estimated when loaded)" if kind is Generator else " (give it to load_encoder as w_avg)"
    return f"{family}, {sizes}, {million:.2f} M numbers{average}"


@dataclass
class Convert(Command):
    """Write a network of any readable checkpoint as safetensors.

    Args:
        source: a path, https://… with --sha256, or hf://owner/repository/file.
        target: the file to write.
        network: which network.
        sha256: what the SHA-256 of IN must be.
        class_index: the class of a conditional generator or discriminator.
    """

    source: str = option(metavar="IN")
    target: Path = option(read=Path, metavar="OUT.safetensors")
    network: str = option("generator", choices=tuple(NETWORKS))
    sha256: str | None = option(None)
    class_index: int | None = option(None, int)

    def run(self) -> int:
        """Writes the file, and prints its size."""
        if self.target.suffix != ".safetensors":
            raise CheckpointError(f"{self.target} must end in .safetensors, the only format that padinv writes.")
        checkpoint = open_checkpoint(self.source, self.sha256)
        kind = NETWORKS[self.network]
        network = checkpoint.load(kind, class_index=self.class_index)
        trained_for = checkpoint.trained_for if kind is PadInvEncoder else None
        with writing(self.target, parents=True) as part:
            save_network(network, part, generator=trained_for)
        told = f"{self.target}: {type(network).__name__}, {self.target.stat().st_size / 1e6:.1f} MB"
        print(printable(told))
        return 0
