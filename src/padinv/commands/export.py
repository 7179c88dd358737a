"""``padinv export MODEL OUT``: an encoder, a generator or both as a file that runs without padinv."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from padinv.exceptions import ConfigError
from padinv.files import local_path
from padinv.options import Command, file, option, resolutions

if TYPE_CHECKING:
    from padinv.export import Part


@dataclass
class Export(Command):
    """Write an encoder, a generator or both as a file that runs without padinv.

    Args:
        model: bundled model, checkpoint, or folder with generator.safetensors and encoder.safetensors.
        target: the file to write: .onnx, or .pt2 for torch.
        part: encoder (images to codes), generator (codes to images), or both (images to reconstructions and codes).
        generator: file of the generator, if MODEL is an encoder alone.
        rings: resolutions of the rings that a generator alone takes, or none (default: 4,8,16,32).
        features: resolutions of the features that a generator alone takes, or none (default: none).
        plain_convolutions: leave convolutions in .onnx as they are, for other devices than CPUs.
        int8: write weights of 8 bits, in .onnx alone, and show what they cost.
    """

    model: str = option()
    target: Path = option(read=file, metavar="OUT")
    format: str = option("onnx", choices=("onnx", "torch"))
    part: str = option("both", choices=("encoder", "generator", "both"))
    generator: str | None = option(None, metavar="FILE", rare=True)
    rings: list[int] | None = option(None, resolutions, metavar="4,8")
    features: list[int] | None = option(None, resolutions, metavar="16")
    plain_convolutions: bool = option(False)
    int8: bool = option(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.int8 and self.format == "torch":
            raise ConfigError("--int8 is for --format onnx: leave it out, or choose that.")
        if self.plain_convolutions and self.format == "torch":
            raise ConfigError("--plain-convolutions is for --format onnx: leave it out, that of torch has no others.")
        for name, given in (("--rings", self.rings), ("--features", self.features)):
            if given is not None and self.part != "generator":
                raise ConfigError(f"{name} is for --part generator: an encoder has its own.")

    def run(self) -> int:
        """Writes the file, and prints its size."""
        from padinv.export import export_onnx, export_torch

        part = self.load()
        if self.format == "torch":
            description = export_torch(part, self.target)
        else:
            description = export_onnx(part, self.target, plain_convolutions=self.plain_convolutions, int8=self.int8)
        size = sum(file.stat().st_size for file in self.target.parent.glob(f"{self.target.name}*"))
        lines = [f"{self.target}: {description.part}, {size / 1e6:.1f} MB"]
        if description.int8 is not None:
            lines.append("int8 against float32: mse {mse:.2e}, psnr {psnr:.1f} dB".format(**description.int8))
        self.tell({"file": self.target, "bytes": size, "format": self.format, **asdict(description)}, *lines)
        return 0

    def load(self) -> Part:
        """Loads the part to write."""
        from padinv.checkpoints import load_generator, load_pair
        from padinv.checkpoints.pair import FILES
        from padinv.export import encoder_part, generator_part, joined_part

        if self.part == "generator":
            source = self.generator or self.model
            folder = local_path(source)
            generator = load_generator(folder / FILES["generator"] if folder.is_dir() else source)
            return generator_part(generator, self.rings, feature_resolutions=self.features or [])
        pair = load_pair(self.model, self.generator)
        return (encoder_part if self.part == "encoder" else joined_part)(*pair)
