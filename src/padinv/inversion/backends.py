"""The networks behind an Inverter: which fit each other, where they compute, and what runs them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from padinv.codes import CodeShape, InversionCode, PaddingCode
from padinv.cpu import fold
from padinv.exceptions import ConfigError
from padinv.networks import Generator, PadInvEncoder, encode
from padinv.networks.passes import pooled

Backend: TypeAlias = Literal["torch", "onnxruntime"]

Network = TypeVar("Network", bound=nn.Module)


class TorchPair:
    """An encoder and its generator, run by torch; :class:`padinv.export.ExportedPair` is the same by onnxruntime.

    Args:
        encoder: the network, in evaluation mode.
        generator: the one that it was trained for.
        half: the type of half precision in which to prepare weights; None for float32.
        compile: whether to compile the networks with ``torch.compile``.
    """

    def __init__(self, encoder: nn.Module, generator: Generator, half: torch.dtype | None, compile: bool) -> None:
        self.resolution: int = encoder.resolution  # type: ignore[assignment]  # check_networks has seen to it
        self.encoder = fold(encoder, half)
        self.synthesis = fold(generator, half).synthesis
        if compile:
            self.encoder.compile()
            self.synthesis.compile()

    def encode(self, images: Tensor) -> InversionCode:
        """Computes the code of images (B, 3, R, R) in [-1, 1], in as many passes as the encoder has."""
        # Between passes an encoder sees the images of its code, at the size that it reads.
        return encode(
            self.encoder, images, lambda code: pooled(self.synthesize(*code.parts), self.resolution), self.synthesis
        )

    def synthesize(
        self, w_plus: Tensor, padding: PaddingCode | None = None, features: Mapping[int, Tensor] | None = None
    ) -> Tensor:
        """Computes ``generator.synthesis(w_plus, padding, features)``, (B, 3, H, W)."""
        images: Tensor = self.synthesis(w_plus, padding, features)
        return images


def find_device(device: torch.device | str | None = None) -> torch.device:
    """Finds a device, and checks that this machine has it.

    Args:
        device: its name, such as "cpu", "cuda:1" or "mps"; a CUDA device if there is one, else the CPU, if not given.

    Raises:
        ConfigError: if there is no such device.

    >>> find_device("cpu")
    device(type='cpu')
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device must be cpu, cuda, cuda:N or mps, not {device!r}.") from error
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if found.type not in counts:  # torch itself knows of other kinds
        try:
            torch.empty(0, device=found)
        except Exception as error:  # of many kinds
            raise ConfigError(f"device {found}: this torch cannot compute there; use another, or cpu.") from error
    elif (found.index or 0) >= (count := counts[found.type]):
        there = f"there are {count}, counted from 0" if count else "there is none on this machine"
        raise ConfigError(f"device {found}: {there}; use another, or cpu.")
    return found


def prepare(network: Network, device: torch.device) -> Network:
    """Copies a network for inference alone, in the layout in which convolutions are fastest."""
    with torch.inference_mode(False):  # refinement differentiates through it
        return copy.deepcopy(network).requires_grad_(False).eval().to(device).to(memory_format=torch.channels_last)


def check_networks(encoder: nn.Module, generator: Generator) -> None:
    """Raises ConfigError unless these are an encoder and a generator that fit each other."""
    if not isinstance(generator, Generator):
        raise ConfigError(f"The generator must be a padinv.Generator, not a {type(generator).__name__}.")
    if not isinstance(getattr(encoder, "resolution", None), int):
        raise ConfigError(
            "The encoder must tell the size of the images that it reads: give it a resolution, in pixels."
        )
    if isinstance(encoder, PadInvEncoder):
        predicted, consumed = (_shape(shape, encoder) for shape in (encoder.code_shape, generator.code_shape))
        if predicted != consumed:
            raise ConfigError(
                f"The encoder predicts {predicted}, but this generator takes {consumed}: "
                "give the generator that the encoder was trained for."
            )


def _shape(shape: CodeShape, encoder: PadInvEncoder) -> str:
    """Describes the part of a code's shape that an encoder predicts: published encoders know no other."""
    told = f"{shape.num_layers} latents of {shape.w_dim}"
    for part, resolutions in (("rings", encoder.padded_resolutions), ("features", encoder.feature_resolutions)):
        if channels := {r: shape.channels.get(r) for r in resolutions}:
            told += f" and {part} of channels {channels}"
    return told
