"""The parts of a model that can be exported, as modules that take and give nothing but tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.checkpoints import fingerprint
from padinv.codes import InversionCode, PaddingCode
from padinv.cpu import fold
from padinv.exceptions import ConfigError
from padinv.export.session import Description
from padinv.networks import Generator
from padinv.networks.encoder import PADDED_RESOLUTIONS
from padinv.networks.passes import count_passes, encode, has_fusion, pooled

Named: TypeAlias = dict[str, Tensor]
Inputs: TypeAlias = Tensor | Named
"""Images (B, 3, R, R), or the tensors of a code by name (:meth:`padinv.InversionCode.named_tensors`)."""

Network = TypeVar("Network", bound=nn.Module)

TRUNCATION = 0.7
"""Truncation ψ of the images that measure the loss of quality: images far from the mean are not typical."""


@dataclass(frozen=True)
class Part:
    """A module to export, with sample inputs to try it on.

    Args:
        module: maps inputs to named tensors.
        sample: makes inputs for a number of typical images, the same ones each time.
        draw: makes images (B, 3, R, R) of the module's outputs.
        description: the metadata that its file gets.
    """

    module: nn.Module
    sample: Callable[[int], Inputs]
    draw: Callable[[Named], Tensor]
    description: Description


class _Encode(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        if (passes := count_passes(encoder)) > 1:
            raise ConfigError(
                f"An encoder of {passes} passes needs the generator in between: export both, --part both "
                "(padinv.export.joined_part)."
            )
        if has_fusion(encoder):
            raise ConfigError(
                "An encoder with feature_fusion looks into the generator: export both, --part both "
                "(padinv.export.joined_part)."
            )
        self.encoder = fold(encoder)

    def forward(self, images: Tensor) -> Named:
        code: InversionCode = self.encoder(images)
        return code.named_tensors()


class _Generate(nn.Module):
    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.synthesis = fold(generator.synthesis)

    def forward(self, code: Named) -> Named:
        return {"images": self.synthesis(*InversionCode.from_named_tensors(code).parts)}


class _Reconstruct(nn.Module):
    def __init__(self, encoder: nn.Module, generator: Generator) -> None:
        super().__init__()
        self.encoder = fold(encoder)
        self.synthesis = fold(generator.synthesis)

    def forward(self, images: Tensor) -> Named:
        size = cast(int, self.encoder.resolution)
        code = encode(self.encoder, images, lambda code: pooled(self.synthesis(*code.parts), size), self.synthesis)
        return {"reconstructions": self.synthesis(*code.parts), **code.named_tensors()}


def encoder_part(encoder: nn.Module, generator: Generator) -> Part:
    """Images to codes: ``images`` → ``w_plus``, ``const``, ``ring_R`` and ``features_R`` for each of their resolutions.

    Args:
        encoder: a :class:`~padinv.PadInvEncoder`, or any module with a ``resolution`` that maps images to codes.
        generator: the one that it was trained for; it is not exported, but named in the file.
    """
    encoder, generator = _frozen(encoder), _frozen(generator)
    size = cast(int, encoder.resolution)
    return Part(
        _Encode(encoder),
        lambda count: _images(generator, count, size),
        lambda named: cast(Tensor, generator.synthesis(*InversionCode.from_named_tensors(named).parts)),
        Description("encoder", fingerprint(generator), fingerprint(encoder), reads=size),
    )


def generator_part(
    generator: Generator,
    padded_resolutions: Sequence[int] | None = None,
    replace_const: bool = True,
    feature_resolutions: Sequence[int] = (),
) -> Part:
    """Codes to images: ``w_plus``, ``const``, ``ring_R``, ``features_R`` → ``images``. The noise images are part of it.

    A ring or features of zeros are none, and ``generator.synthesis.const`` is the constant that stands for none.

    Args:
        generator: the generator.
        padded_resolutions: the resolutions of the rings that go in; if not given, those of 4, 8, 16 and 32 px that the
            generator has.
        replace_const: whether the constant goes in.
        feature_resolutions: the resolutions of the features that go in.

    Raises:
        ConfigError: if the generator has no such resolution.
    """
    generator = _frozen(generator)
    channels = generator.synthesis.channels
    if padded_resolutions is None:
        padded_resolutions = [r for r in PADDED_RESOLUTIONS if r in channels]
    for option, named in (("rings", padded_resolutions), ("features", feature_resolutions)):
        if unknown := sorted(set(named) - set(channels)):
            raise ConfigError(f"{option} names {unknown} px, but this generator has layers at {sorted(channels)} px.")

    def sample(count: int) -> Named:
        padding: PaddingCode | None = None
        if replace_const or padded_resolutions:
            const = generator.synthesis.const.expand(count, -1, -1, -1).clone() if replace_const else None
            rings = {r: torch.zeros(count, channels[r], 4 * r + 4) for r in sorted(padded_resolutions)}
            padding = PaddingCode(const, rings)
        features = {r: torch.zeros(count, channels[r], r, r) for r in sorted(feature_resolutions)}
        return InversionCode(_latents(generator, count), padding, features).named_tensors()

    description = Description("generator", fingerprint(generator), writes=generator.resolution)
    return Part(_Generate(generator), sample, lambda named: named["images"], description)


def joined_part(encoder: nn.Module, generator: Generator) -> Part:
    """Images to their reconstructions, and codes: ``images`` → ``reconstructions``, ``w_plus``, ``const``, ...

    The further outputs are those of :func:`encoder_part`.

    Args:
        encoder: as for :func:`encoder_part`.
        generator: the one that it was trained for.
    """
    encoder, generator = _frozen(encoder), _frozen(generator)
    size = cast(int, encoder.resolution)
    return Part(
        _Reconstruct(encoder, generator),
        lambda count: _images(generator, count, size),
        lambda named: named["reconstructions"],
        Description("both", fingerprint(generator), fingerprint(encoder), size, generator.resolution),
    )


def _frozen(network: Network) -> Network:
    """Copies for inference, in plain layout on the CPU: a file must not depend on where its network was."""
    with torch.inference_mode(False):
        copied = copy.deepcopy(network).requires_grad_(False).eval().cpu().float()
        return copied.to(memory_format=torch.contiguous_format)


def _latents(generator: Generator, count: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    z = torch.randn(count, generator.config["z_dim"], generator=random)
    return generator.broadcast(generator.truncate(generator.mapping(z), TRUNCATION)).clone()


def _images(generator: Generator, count: int, size: int) -> Tensor:
    images: Tensor = generator.synthesis(_latents(generator, count)).clamp(-1, 1)
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)
