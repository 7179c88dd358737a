"""``padinv inspect FILE``: the format of a checkpoint, its networks, their sizes, and what can be loaded from it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from padinv.checkpoints.checkpoint import NOISE, AnyNetwork, read_network
from padinv.checkpoints.formats.recognition import read_content
from padinv.checkpoints.formats.state_dicts import State
from padinv.checkpoints.registry import BUNDLED
from padinv.checkpoints.sources import resolve_source
from padinv.exceptions import PadInvError, printable

LOADERS = {"Generator": "load_generator", "Discriminator": "load_discriminator", "PadInvEncoder": "load_encoder"}


def main(args: Sequence[str]) -> int:
    """Runs the command.

    Args:
        args: the words behind ``padinv inspect``.

    Returns:
        0.

    Raises:
        PadInvError: if the file cannot be read.
    """
    parser = argparse.ArgumentParser(prog="padinv inspect", description="Tell what a checkpoint holds.")
    parser.add_argument(
        "source",
        metavar="FILE",
        help="a path, the name of a bundled model, https://… with --sha256, or hf://owner/repository/file",
    )
    parser.add_argument("--sha256", help="what the file's SHA-256 must be")
    options = parser.parse_args(args)
    for number, path in enumerate(_resolve(options.source, options.sha256)):
        print(*([""] if number else []), *map(printable, describe(path)), sep="\n")
    return 0


def _resolve(source: str, sha256: str | None) -> list[Path]:
    """The files of all networks that a bundled name has, or the one file of any other source."""
    if source in BUNDLED and sha256 is None and not Path(source).exists():
        return [resolve_source(source, network) for network in BUNDLED[source]]
    return [resolve_source(source, "Generator", sha256)]


def describe(path: Path) -> Iterator[str]:
    """Tells what a file holds, line by line.

    Raises:
        CheckpointError: if it cannot be read.
    """
    content = read_content(path)
    yield f"file:          {path} ({path.stat().st_size / 1e6:.1f} MB)"
    yield f"format:        {content.format}"
    if content.classes:
        yield f"classes:       {content.classes}; choose one with class_index"
    loadable = []
    for name, loader in LOADERS.items():
        if name in content.readers:
            try:
                network, state = read_network(content, name, path, 0 if content.classes else None)
                facts = _facts(network, state)
                chosen = ", class_index=0" if content.classes and name != "PadInvEncoder" else ""
                loadable.append(f"padinv.{loader}({str(path)!r}{chosen})")
            except PadInvError as error:
                facts = f"cannot be loaded: {error}"
            yield f"{name + ':':<15}{facts}"
    yield f"load with:     {', '.join(loadable) or 'nothing: none of it fits'}"


def _facts(network: AnyNetwork, state: State) -> str:
    name, config = type(network).__name__, network.config
    million = sum(tensor.numel() for tensor in state.values()) / 1e6
    if name == "PadInvEncoder":
        code = config["code"]
        kind = "IResNet-SE"
        rings = ", ".join(map(str, config.get("padded_resolutions") or []))
        sizes = (
            f"depth {config['depth']}, {config['resolution']} px, {code['num_layers']} latents of {code['w_dim']}, "
            + (f"padding at {rings} px" if rings else "W+ without padding")
        )
    else:
        kind = "StyleGAN2"
        sizes = f"{config['resolution']} px"
        if name == "Generator":
            layers = 2 * config["resolution"].bit_length() - 4
            sizes += (
                f", {layers} latents of {config['w_dim']}, z of {config['z_dim']}, "
                f"{config['mapping_layers']} mapping layers"
            )
        sizes += f", channels {', '.join(f'{r}: {width}' for r, width in sorted(config['channels'].items()))}"
    if (bound := config.get("conv_clamp")) is not None:
        sizes += f", activations clamped at ±{bound:g}"
    if name == "Discriminator" and config["mbstd_group_size"] != 4:
        sizes += f", minibatch statistic of {config['mbstd_group_size'] or 'all'} images"
    if name == "Generator" and not any(key.endswith(NOISE) for key in state):
        sizes += ", noise images missing (drawn when loaded)"
    average = "" if name == "Discriminator" else f", w_avg {'in the file' if 'w_avg' in state else 'missing'}"
    if average.endswith("missing"):
        average += " (estimated when loaded)" if name == "Generator" else " (give it to load_encoder as w_avg)"
    return f"{kind}, {sizes}, {million:.2f} M numbers{average}"
