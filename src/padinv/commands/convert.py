"""``padinv convert IN OUT.safetensors``: a checkpoint of any readable format becomes a file of ours."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from padinv.checkpoints import open_checkpoint, save_network
from padinv.checkpoints.formats.state_dicts import Kind
from padinv.exceptions import CheckpointError, printable
from padinv.files import writing
from padinv.networks import Discriminator, Generator, PadInvEncoder

NETWORKS: dict[str, Kind] = {"generator": Generator, "discriminator": Discriminator, "encoder": PadInvEncoder}


def main(args: Sequence[str]) -> int:
    """Runs the command.

    Args:
        args: the words behind ``padinv convert``.

    Returns:
        0.

    Raises:
        PadInvError: if the file cannot be read or written.
    """
    parser = argparse.ArgumentParser(
        prog="padinv convert", description="Write a network of any readable checkpoint as safetensors."
    )
    parser.add_argument("source", metavar="IN", help="a path, https://… with --sha256, or hf://owner/repository/file")
    parser.add_argument("target", metavar="OUT.safetensors", type=Path, help="the file to write")
    parser.add_argument("--network", choices=NETWORKS, default="generator", help="which network (default: %(default)s)")
    parser.add_argument("--sha256", help="what the SHA-256 of IN must be")
    parser.add_argument("--class-index", type=int, help="the class of a conditional generator or discriminator")
    options = parser.parse_args(args)
    if options.target.suffix != ".safetensors":
        raise CheckpointError(f"{options.target} must end in .safetensors, the only format that padinv writes.")
    checkpoint = open_checkpoint(options.source, options.sha256)
    kind = NETWORKS[options.network]
    network = checkpoint.load(kind, class_index=options.class_index)
    trained_for = checkpoint.trained_for if kind is PadInvEncoder else None
    with writing(options.target, parents=True) as part:
        save_network(network, part, generator=trained_for)
    told = f"{options.target}: {type(network).__name__}, {options.target.stat().st_size / 1e6:.1f} MB"
    print(printable(told))
    return 0
