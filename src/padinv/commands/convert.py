"""``padinv convert IN OUT.safetensors``: a checkpoint of any readable format becomes a file of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from padinv.checkpoints import open_checkpoint, save_network
from padinv.checkpoints.formats.state_dicts import Kind
from padinv.exceptions import CheckpointError, printable
from padinv.files import writing
from padinv.networks import Discriminator, Generator, PadInvEncoder
from padinv.options import Command, option

NETWORKS: dict[str, Kind] = {"generator": Generator, "discriminator": Discriminator, "encoder": PadInvEncoder}


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
        """Writes the file, and tells its size."""
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
