"""``padinv convert IN OUT.safetensors``: a checkpoint of any readable format becomes a file of ours."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from padinv.checkpoints import load_discriminator, load_encoder, load_generator, save_network
from padinv.checkpoints.formats.recognition import read_content
from padinv.checkpoints.sources import resolve_source
from padinv.exceptions import CheckpointError, printable
from padinv.files import writing

LOADERS: dict[str, Callable[..., nn.Module]] = {
    "generator": load_generator,
    "discriminator": load_discriminator,
    "encoder": load_encoder,
}


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
    parser.add_argument("--network", choices=LOADERS, default="generator", help="which network (default: %(default)s)")
    parser.add_argument("--sha256", help="what the SHA-256 of IN must be")
    parser.add_argument("--class-index", type=int, help="the class of a conditional generator or discriminator")
    options = parser.parse_args(args)
    if options.target.suffix != ".safetensors":
        raise CheckpointError(f"{options.target} must end in .safetensors, the only format that padinv writes.")
    arguments = {"sha256": options.sha256}
    trained_for = None
    if options.network == "encoder":
        trained_for = read_content(resolve_source(options.source, "PadInvEncoder", options.sha256)).generator
    else:
        arguments["class_index"] = options.class_index
    network = LOADERS[options.network](options.source, **arguments)
    with writing(options.target, parents=True) as part:
        save_network(network, part, generator=trained_for)
    told = f"{options.target}: {type(network).__name__}, {options.target.stat().st_size / 1e6:.1f} MB"
    print(printable(told))
    return 0
