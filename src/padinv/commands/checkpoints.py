"""Commands on checkpoints: what a file holds, and its networks as padinv's own files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padinv.exceptions import CheckpointError, PadInvError
from padinv.files import writing
from padinv.options import Command, file, option

if TYPE_CHECKING:
    from torch import nn

    from padinv.checkpoints.formats.state_dicts import Kind, State


def networks() -> dict[str, Kind]:
    """The classes of networks that checkpoints hold; ``padinv.load_NAME`` loads one."""
    from padinv.networks import Discriminator, Generator, PadInvEncoder

    return {"generator": Generator, "discriminator": Discriminator, "encoder": PadInvEncoder}


@dataclass
class Inspect(Command):
    """Tell what a checkpoint holds.

    Args:
        source: a path, the name of a bundled model, https://… with --sha256, or hf://owner/repository/file.
        sha256: SHA-256 that the file must have.
    """

    source: str = option(metavar="FILE")
    sha256: str | None = option(None)

    def run(self) -> int:
        """Prints what the file holds."""
        from padinv.checkpoints.sources import resolve_all

        for number, path in enumerate(resolve_all(self.source, self.sha256)):
            lines = list(describe(path, self.source))
            facts = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
            self.tell({**facts, "file": path, "bytes": path.stat().st_size}, *([""] if number else []), *lines)
        return 0


def describe(path: Path, source: str | None = None) -> Iterator[str]:
    """Describes line by line what a file holds, and how to load it by the source that the user named.

    Raises:
        CheckpointError: if it cannot be read.
    """
    from padinv.checkpoints import open_checkpoint
    from padinv.checkpoints.sources import is_bundled

    checkpoint = open_checkpoint(path)
    classes = checkpoint.classes
    yield f"file:          {path} ({path.stat().st_size / 1e6:.1f} MB)"
    yield f"format:        {checkpoint.format}"
    if classes:
        yield f"classes:       {classes}; choose one with class_index"
    name = source if source is not None and is_bundled(source) else str(path)
    loadable = []
    for part, kind in networks().items():
        if kind in checkpoint.holds:
            try:
                network, state = checkpoint.read(kind, 0 if classes else None)
                facts = _facts(network, state)
                chosen = ", class_index=0" if classes and part != "encoder" else ""
                loadable.append(f"padinv.load_{part}({name!r}{chosen})")
            except PadInvError as error:
                facts = f"cannot be loaded: {error}"
            yield f"{kind.__name__ + ':':<15}{facts}"
    yield f"load with:     {', '.join(loadable) or 'nothing: none of it fits'}"


def _facts(network: nn.Module, state: State) -> str:
    from padinv.checkpoints.building import NOISE
    from padinv.networks import Discriminator, Generator, PadInvEncoder

    kind = type(network)
    config: dict[str, Any] = network.config  # type: ignore[assignment]  # all of padinv's networks have it
    facts = ["IResNet-SE" if kind is PadInvEncoder else "StyleGAN2"]
    if kind is PadInvEncoder:
        code, rings = config["code"], ", ".join(map(str, config.get("padded_resolutions") or []))
        facts += [f"depth {config['depth']}", f"{config['resolution']} px"]
        facts += [f"{code['num_layers']} latents of {code['w_dim']}"]
        facts += [f"padding at {rings} px" if rings else "W+ without padding"]
    else:
        facts += [f"{config['resolution']} px"]
        if kind is Generator:
            layers = 2 * config["resolution"].bit_length() - 4
            facts += [f"{layers} latents of {config['w_dim']}", f"z of {config['z_dim']}"]
            facts += [f"{config['mapping_layers']} mapping layers"]
        facts += [f"channels {', '.join(f'{r}: {width}' for r, width in sorted(config['channels'].items()))}"]
    if (bound := config.get("conv_clamp")) is not None:
        facts += [f"activations clamped at ±{bound:g}"]
    if kind is Discriminator and config["mbstd_group_size"] != 4:
        facts += [f"minibatch statistic of {config['mbstd_group_size'] or 'all'} images"]
    if kind is Generator and not any(key.endswith(NOISE) for key in state):
        facts += ["noise images missing (drawn when loaded)"]
    facts += [f"{sum(tensor.numel() for tensor in state.values()) / 1e6:.2f} M numbers"]
    if kind is not Discriminator:
        mend = "estimated when loaded" if kind is Generator else "give it to load_encoder as w_avg"
        facts += ["w_avg in the file" if "w_avg" in state else f"w_avg missing ({mend})"]
    return ", ".join(facts)


@dataclass
class Convert(Command):
    """Write a network of any readable checkpoint as safetensors.

    Args:
        source: a path, https://… with --sha256, or hf://owner/repository/file.
        target: the file to write.
        network: network to write.
        sha256: SHA-256 that IN must have.
        class_index: the class of a conditional generator or discriminator.
    """

    source: str = option(metavar="IN")
    target: Path = option(read=file, metavar="OUT.safetensors")
    network: str = option("generator", choices=("generator", "discriminator", "encoder"))
    sha256: str | None = option(None)
    class_index: int | None = option(None, int)

    def run(self) -> int:
        """Writes the file, and prints its size."""
        from padinv.checkpoints import open_checkpoint, save_network

        if self.target.suffix != ".safetensors":
            raise CheckpointError(f"{self.target} must end in .safetensors, the only format that padinv writes.")
        checkpoint = open_checkpoint(self.source, self.sha256)
        network = checkpoint.load(networks()[self.network], class_index=self.class_index)
        trained_for = checkpoint.trained_for if self.network == "encoder" else None
        with writing(self.target, parents=True) as part:
            save_network(network, part, generator=trained_for)
        told = f"{self.target}: {type(network).__name__}, {self.target.stat().st_size / 1e6:.1f} MB"
        facts = {"file": self.target, "bytes": self.target.stat().st_size, "network": self.network}
        self.tell({**facts, "config": network.config}, told)
        return 0
