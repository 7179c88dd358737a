"""The options that all commands on photographs share."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from padinv.bulk.options import BulkOptions
from padinv.exceptions import ConfigError


def number(least: float = -math.inf, most: float = math.inf) -> Callable[[str], float]:
    """What an option takes that is a finite number in a range, both ends included: the ``type`` for argparse."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a number, not {text.strip()!r}") from None
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"must be a finite number, not {text.strip()}")
        return _checked(value, least, most)

    return read


def whole_number(least: int, most: float = math.inf) -> Callable[[str], int]:
    """The same for whole numbers."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, not {text.strip()!r}") from None
        return int(_checked(value, least, most))

    return read


def folder(text: str) -> Path:
    """What an option takes that is a folder of this machine."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"must be a folder of this machine, not the URL {text}")
    return Path(text)


def _checked(value: float, least: float, most: float) -> float:
    if not least <= value <= most:
        bounds = f"{least:g} or more" if most == math.inf else f"from {least:g} to {most:g}"
        raise argparse.ArgumentTypeError(f"must be {bounds}, not {value:g}")
    return value


class OptionParser(argparse.ArgumentParser):
    """A parser whose errors are a sentence of ours, and for which every number is a value, never an option.

    argparse takes ``-0.1`` for a value, but ``-1e-1`` for a misspelt option.
    """

    def parse_known_args(  # type: ignore[override]  # typeshed has an overload for each way to call it
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Puts a space before negative numbers: what does not begin with a dash is a value to argparse."""
        words = sys.argv[1:] if args is None else args
        self._check_options(words)
        return super().parse_known_args([f" {word}" if _is_negative(word) else word for word in words], namespace)

    def _check_options(self, words: Sequence[str]) -> None:
        """Names a misspelt option, before argparse finds something else to be missing."""
        known = [name for action in self._actions for name in action.option_strings]
        for word in words:
            name = word.partition("=")[0]
            if word == "--":
                return
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                nearest = get_close_matches(name, known, 1, cutoff=0.5)
                self.error(f"there is no option {name}" + (f": did you mean {nearest[0]}" if nearest else ""))

    def error(self, message: str) -> NoReturn:
        """Raises ConfigError."""
        sentence = message.removeprefix("argument ").replace(": must be", " must be")
        raise ConfigError(f"{sentence}; {self.prog} --help lists the options.")


def _is_negative(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return word.startswith("-") and not Path(word).exists()


def photograph_parser(command: str, description: str, output_required: bool = True) -> OptionParser:
    """A parser with the shared options; the command adds what it takes, and its own.

    Args:
        command: its name.
        description: what it does, in a sentence.
        output_required: whether it always writes results.
    """
    parser = OptionParser(
        prog=f"padinv {command}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = BulkOptions(output=Path())
    results = parser.add_argument_group("results")
    results.add_argument(
        "-o", "--output", type=folder, required=output_required, metavar="OUT", help="folder for the results"
    )
    results.add_argument("--overwrite", action="store_true", help="make again what is already there")
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        default=defaults.model,
        help="name of a bundled model, folder with generator.safetensors and encoder.safetensors, or checkpoint "
        "(default: %(default)s)",
    )
    model.add_argument(
        "--refine", type=whole_number(0), default=0, metavar="N", help="optimize each code for N steps (default: 0)"
    )
    faces = parser.add_argument_group("faces")
    faces.add_argument("--align", action="store_true", help="find the face, and paste the result back")
    faces.add_argument("--landmarks", type=Path, metavar="JSON", help="align by these, and look for none")
    faces.add_argument(
        "--detector",
        default=defaults.detector,
        metavar="PACK",
        help="what finds faces: a model pack of InsightFace, a folder, or an .onnx file (default: %(default)s)",
    )
    faces.add_argument(
        "--faces", default="largest", metavar="largest|all|N", help="which faces of a photograph (default: largest)"
    )
    speed = parser.add_argument_group("speed")
    speed.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    speed.add_argument("--devices", type=whole_number(1), default=1, metavar="N", help="how many of them (default: 1)")
    speed.add_argument("--num-nodes", type=whole_number(1), default=1, metavar="N", help="of a cluster (default: 1)")
    speed.add_argument(
        "--batch-size", type=whole_number(1), default=defaults.batch_size, metavar="N", help="(default: %(default)s)"
    )
    speed.add_argument("--precision", choices=["32", "bf16", "16"], default="32", help="(default: %(default)s)")
    speed.add_argument(
        "--workers", type=whole_number(0), metavar="N", help="processes that decode (default: as many as are of use)"
    )
    speed.add_argument(
        "--no-keep-memory",
        action="store_false",
        dest="keep_memory",
        help="on a CPU, give freed memory back at once, which is slower",
    )
    return parser


def add_photographs(
    parser: argparse.ArgumentParser, name: str = "photographs", metavar: str = "PHOTO", nargs: str = "+"
) -> None:
    """Adds the argument that names any number of photographs.

    Args:
        parser: of :func:`photograph_parser`.
        name: of the attribute.
        metavar: how the usage line calls it.
        nargs: "*" if there may be none.
    """
    parser.add_argument(
        name,
        metavar=metavar,
        nargs=nargs,
        help="file, saved code (.safetensors, or latents: .pt, .npy, .npz), folder, "
        "pattern such as 'photos/*.jpg', zip file or bundled data set",
    )


def add_photograph(parser: argparse.ArgumentParser, name: str) -> None:
    """Adds the argument that names a single photograph.

    Args:
        parser: of :func:`photograph_parser`.
        name: of the attribute, and in the usage line.
    """
    parser.add_argument(
        name, metavar=name.upper(), help="file, or saved code (.safetensors, or latents: .pt, .npy, .npz)"
    )


def bulk_options(options: argparse.Namespace) -> BulkOptions:
    """The shared options that were parsed.

    Raises:
        ConfigError: if ``--faces`` is something else.
    """
    faces = options.faces
    if faces not in ("largest", "all"):
        if not faces.isdecimal():
            raise ConfigError(f"--faces must be largest, all, or a number from 0 on, not {faces!r}.")
        faces = int(faces)
    return BulkOptions(
        output=options.output,
        model=options.model,
        align=options.align,
        landmarks=options.landmarks,
        detector=options.detector,
        faces=faces,
        refine=options.refine,
        device=options.device,
        devices=options.devices,
        num_nodes=options.num_nodes,
        batch_size=options.batch_size,
        precision=options.precision,
        workers=options.workers,
        keep_memory=options.keep_memory,
        overwrite=options.overwrite,
    )
