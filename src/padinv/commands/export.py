"""``padinv export MODEL OUT``: an encoder, a generator or both as a file that runs without padinv."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from padinv.checkpoints import load_generator, load_pair
from padinv.checkpoints.pair import FILES
from padinv.commands.blend import parse_rings
from padinv.exceptions import ConfigError
from padinv.export import Part, encoder_part, export_onnx, export_torch, generator_part, joined_part


def main(args: Sequence[str]) -> int:
    """Runs the command.

    Args:
        args: the words behind ``padinv export``.

    Returns:
        0.

    Raises:
        PadInvError: if the model cannot be read, or the file cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog="padinv export", description="Write an encoder, a generator or both as a file that runs without padinv."
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="name of a bundled model, folder with generator.safetensors and encoder.safetensors, or checkpoint",
    )
    parser.add_argument("target", metavar="OUT", type=Path, help="the file to write: .onnx, or .pt2 for torch")
    parser.add_argument("--format", choices=["onnx", "torch"], default="onnx", help="(default: %(default)s)")
    parser.add_argument(
        "--part",
        choices=["encoder", "generator", "both"],
        default="both",
        help="images to codes, codes to images, or images to reconstructions and codes (default: %(default)s)",
    )
    parser.add_argument("--generator", metavar="FILE", help="the generator, if MODEL is an encoder alone")
    parser.add_argument(
        "--rings", metavar="4,8", help="of --part generator: where rings go in, or none (default: 4,8,16,32)"
    )
    parser.add_argument(
        "--plain-convolutions",
        action="store_true",
        help="of onnx: leave convolutions as they are, for other devices than CPUs",
    )
    parser.add_argument("--int8", action="store_true", help="weights of 8 bits, onnx alone; tells what it costs")
    options = parser.parse_args(args)
    if options.int8 and options.format == "torch":
        raise ConfigError("--int8 is for --format onnx: leave it out, or choose that.")
    if options.plain_convolutions and options.format == "torch":
        raise ConfigError("--plain-convolutions is for --format onnx: leave it out, that of torch has no others.")
    if options.rings is not None and options.part != "generator":
        raise ConfigError("--rings is for --part generator: an encoder has its own.")
    part = _part(options)
    if options.format == "torch":
        description = export_torch(part, options.target)
    else:
        description = export_onnx(
            part, options.target, plain_convolutions=options.plain_convolutions, int8=options.int8
        )
    size = sum(file.stat().st_size for file in options.target.parent.glob(f"{options.target.name}*"))
    print(f"{options.target}: {description.part}, {size / 1e6:.1f} MB")
    if description.int8 is not None:
        print("int8 against float32: mse {mse:.2e}, psnr {psnr:.1f} dB".format(**description.int8))
    return 0


def _part(options: argparse.Namespace) -> Part:
    if options.part == "generator":
        source = options.generator or options.model
        folder = Path(source).expanduser()
        generator = load_generator(folder / FILES["generator"] if folder.is_dir() else source)
        return generator_part(generator, parse_rings(options.rings))
    pair = load_pair(options.model, options.generator)
    return (encoder_part if options.part == "encoder" else joined_part)(*pair)
