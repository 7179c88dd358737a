"""An encoder and its generator, run by onnxruntime: a backend of the Inverter."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from padinv._version import __version__
from padinv.checkpoints import fingerprint
from padinv.checkpoints.cache import cache_folder
from padinv.codes import InversionCode, PaddingCode
from padinv.exceptions import CheckpointError, ConfigError
from padinv.export.files import export_onnx
from padinv.export.parts import encoder_part, generator_part
from padinv.export.session import Description, Session
from padinv.files import local_path
from padinv.networks import Generator, PadInvEncoder
from padinv.typing import PathLike

FILES = {"encoder": "encoder.onnx", "generator": "generator.onnx"}
"""The files in a folder of exported networks."""


class ExportedPair:
    """An encoder and its generator, run by onnxruntime. The networks themselves compute what the files cannot.

    Args:
        encoder: the network in evaluation mode, as for :func:`encoder_part`.
        generator: the one that it was trained for.
        folder: the folder for the :data:`FILES` of these networks; those that are missing are written. One in padinv's
            cache if not given.
        device: where to compute.

    Raises:
        CheckpointError: if the folder has files of other networks, or files cannot be read or written.
        ConfigError: if onnxruntime cannot compute on the device.
        MissingPackageError: if a package that writes or reads the files is missing.
    """

    def __init__(
        self,
        encoder: nn.Module,
        generator: Generator,
        folder: PathLike | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if isinstance(encoder, PadInvEncoder) and (encoder.config["up_rings"] or encoder.config["style_scales_rings"]):
            raise ConfigError(
                "onnxruntime does not run generators for encoders with up_rings or style_scales_rings: use torch, or "
                "padinv export --part both."
            )
        self.encoder = encoder
        self.generator = generator
        names = {"encoder": fingerprint(encoder), "generator": fingerprint(generator)}
        plain = torch.device(device).type != "cpu"
        folder = _cached(encoder, names, plain) if folder is None else local_path(folder)
        paths = {part: folder / file for part, file in FILES.items()}
        if not paths["encoder"].exists():
            export_onnx(encoder_part(encoder, generator), paths["encoder"], plain_convolutions=plain)
        self.encode_session = Session(paths["encoder"], device)
        if not paths["generator"].exists():
            outputs = self.encode_session.outputs
            rings, features = (
                [int(name.removeprefix(part)) for name in outputs if name.startswith(part)]
                for part in ("ring_", "features_")
            )
            part = generator_part(generator, rings, "const" in outputs, features)
            export_onnx(part, paths["generator"], plain_convolutions=plain)
        self.generate_session = Session(paths["generator"], device)
        for session, name in ((self.encode_session, "encoder"), (self.generate_session, "generator")):
            _check(session.description, name, names, paths[name])

    def encode(self, images: Tensor) -> InversionCode:
        """Computes ``encoder(images)`` for images (B, 3, R, R) in [-1, 1]."""
        inputs = {"images": images}
        if not self.encode_session.takes(inputs):
            code: InversionCode = self.encoder(images)
            return code
        return InversionCode.from_named_tensors(self.encode_session(inputs))

    def synthesize(
        self, w_plus: Tensor, padding: PaddingCode | None = None, features: Mapping[int, Tensor] | None = None
    ) -> Tensor:
        """Computes ``generator.synthesis(w_plus, padding, features)``, (B, 3, H, W)."""
        inputs = InversionCode(w_plus, padding, features).named_tensors()
        if not self.generate_session.takes(inputs):
            images: Tensor = self.generator.synthesis(w_plus, padding, features)
            return images
        return self.generate_session(inputs)["images"]


def _cached(encoder: nn.Module, names: Mapping[str, str], plain: bool) -> Path:
    """Names the cache folder for these weights, architectures and convolutions, and versions of the packages."""
    parts = [names, repr(getattr(encoder, "config", encoder)), plain, __version__, torch.__version__]
    return cache_folder() / "exported" / hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _check(description: Description, part: str, names: Mapping[str, str], path: Path) -> None:
    if description.part != part:
        raise CheckpointError(f"{path} holds the part {description.part!r}, not {part!r}: export it anew.")
    for network, expected in names.items():
        found = getattr(description, network)
        if found not in (None, expected):
            raise CheckpointError(
                f"{path} was exported from the {network} {found}, but this one is {expected}: "
                "delete it, or give another folder."
            )
