"""The codes of images: latents carry appearance, padding carries layout, and features carry what is left.

Codes are plain immutable containers of tensors. The batch is the first axis of every tensor, so a code is indexed,
concatenated, interpolated and moved as one.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from padinv.exceptions import ConfigError
from padinv.ops.ring import map_to_ring, ring_positions, ring_to_map

Code = TypeVar("Code", bound="_Code")

_RING = re.compile(r"(?:scaled_)?(ring_|up_ring_)(\d{1,9})")
"""Names of rings among the tensors of a code."""


class _Code(ABC):
    """Operations that all codes share, each applied to every tensor of the code."""

    @abstractmethod
    def map(self: Code, function: Callable[..., Tensor], *others: Code) -> Code:
        """Applies a function to each tensor, together with the tensors at the same place in other codes."""

    @abstractmethod
    def named_tensors(self) -> dict[str, Tensor]:
        """The tensors by name: latents, the constant, then the rings, and the features, by resolution."""

    def tensors(self) -> Iterator[Tensor]:
        """The same tensors, without their names."""
        return iter(self.named_tensors().values())

    def __len__(self) -> int:
        return len(next(self.tensors()))

    @property
    def shape(self) -> torch.Size:
        """The shape of the first tensor. Without it printing tools would iterate, and a sample contains itself."""
        return next(self.tensors()).shape

    def __getitem__(self: Code, index: int | slice | Tensor | Sequence[int]) -> Code:
        """Selects samples; a single one keeps its batch dimension of 1."""
        if isinstance(index, int):
            index = [range(len(self))[index]]
        return self.map(lambda tensor: tensor[index])

    def __iter__(self: Code) -> Iterator[Code]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in self.named_tensors().items())
        first = next(self.tensors())
        return f"{type(self).__name__}({shapes}, {str(first.dtype).removeprefix('torch.')} on {first.device})"

    def is_finite(self) -> Tensor:
        """Whether all numbers of each sample are finite, (B,)."""
        return torch.stack([tensor.isfinite().flatten(1).all(dim=1) for tensor in self.tensors()]).all(dim=0)

    def to(self: Code, *args: Any, **kwargs: Any) -> Code:
        """Moves or casts every tensor, as :meth:`torch.Tensor.to`."""
        return self.map(lambda tensor: tensor.to(*args, **kwargs))

    def cpu(self: Code) -> Code:
        """Moves every tensor to the CPU."""
        return self.to("cpu")

    def detach(self: Code) -> Code:
        """Cuts every tensor off its graph."""
        return self.map(Tensor.detach)

    def clone(self: Code) -> Code:
        """Copies every tensor."""
        return self.map(Tensor.clone)

    def requires_grad_(self: Code, requires_grad: bool = True) -> Code:
        """Makes every tensor a leaf to optimize, in place, and returns the code."""
        for tensor in self.tensors():
            tensor.requires_grad_(requires_grad)
        return self

    def expand(self: Code, batch_size: int) -> Code:
        """Repeats a code of one sample without copying it."""
        return self.map(lambda tensor: tensor.expand(batch_size, *tensor.shape[1:]))

    def lerp(self: Code, other: Code, weight: float) -> Code:
        """(1 - weight) · self + weight · other."""
        return self.map(lambda a, b: torch.lerp(a, b, weight), other)

    def mean(self: Code) -> Code:
        """The mean of all samples, a code of one sample."""
        return self.map(lambda tensor: tensor.mean(dim=0, keepdim=True))

    @classmethod
    def cat(cls: type[Code], codes: Sequence[Code]) -> Code:
        """Concatenates codes along the batch."""
        return codes[0].map(lambda *tensors: torch.cat(tensors), *codes[1:])


def _check_parts(*groups: Any) -> None:
    """Raises ConfigError unless all are mappings to tensors, the later ones by resolution."""
    for place, group in enumerate(groups):
        if not isinstance(group, Mapping):
            raise ConfigError(f"Rings and features are tensors by resolution, {{R: …}}, not {group!r:.100}.")
        for name, part in group.items():
            if place and not isinstance(name, int):
                raise ConfigError(f"Rings and features are tensors by resolution, a whole number, not {name!r:.100}.")
            if not isinstance(part, Tensor):
                raise ConfigError(f"The part {name} of a code must be a tensor, not a {type(part).__name__}.")


@dataclass(frozen=True, eq=False, repr=False)
class PaddingCode(_Code):
    """A point in padding space (PadInv, Bai et al. 2022): what the encoder predicts and the synthesis network consumes.

    Only the ring positions are held, 4R + 4 for a resolution of R px: with the published setting 256 positions of
    rings and the 16 of the constant.

    Args:
        const: replaces the generator's learned constant, (B, C, 4, 4), or None to keep it.
        rings: {R: (B, C_R, 4R + 4)}, for each padded resolution R a ring in reading order (:mod:`padinv.ops.ring`).
        up_rings: the same for the convolution that upsamples to R px, of the channels that it reads, (B, C_{R/2},
            4R + 4); a design that was not published.
        scaled: whether the style multiplies rings as it does what is inside; as published it does not.

    Raises:
        ConfigError: if a ring's size does not fit its resolution, or batch sizes differ.

    >>> code = PaddingCode(None, {4: torch.ones(2, 8, 20)})
    >>> code.maps()[4].shape, code[1].rings[4].shape
    (torch.Size([2, 8, 6, 6]), torch.Size([1, 8, 20]))
    """

    const: Tensor | None
    rings: Mapping[int, Tensor] = field(default_factory=dict)
    up_rings: Mapping[int, Tensor] = field(default_factory=dict)
    scaled: bool = False

    def __post_init__(self) -> None:
        if self.const is None and not self.rings and not self.up_rings:
            raise ConfigError("A PaddingCode needs a constant, a ring, or both; for no padding use None instead.")
        _check_parts({} if self.const is None else {"const": self.const}, self.rings, self.up_rings)
        if self.const is not None and (self.const.ndim != 4 or tuple(self.const.shape[2:]) != (4, 4)):
            raise ConfigError(f"The constant has shape (B, C, 4, 4), not {tuple(self.const.shape)}.")
        for resolution, ring in (*self.rings.items(), *self.up_rings.items()):
            if ring.ndim != 3 or ring.shape[-1] != ring_positions(resolution):
                raise ConfigError(
                    f"The ring at {resolution} px has shape (B, C, {ring_positions(resolution)}), not "
                    f"{tuple(ring.shape)}; make rings from maps with PaddingCode.from_maps."
                )
        sizes = [tensor.shape[0] for tensor in self.tensors()]  # neither len() nor a set: an export has symbols here
        if any(size != sizes[0] for size in sizes):
            raise ConfigError(f"All parts of a PaddingCode need one batch size, not {sizes}.")

    @property
    def padded_resolutions(self) -> list[int]:
        """The resolutions with a ring, ascending."""
        return sorted(self.rings)

    def maps(self) -> dict[int, Tensor]:
        """Draws the rings as maps {R: (B, C_R, R + 2, R + 2)} with zeros inside."""
        return {resolution: ring_to_map(self.rings[resolution]) for resolution in self.padded_resolutions}

    @classmethod
    def from_maps(cls, const: Tensor | None, maps: Mapping[int, Tensor]) -> PaddingCode:
        """The inverse of :meth:`maps`: takes the border off each map {R: (B, C_R, R + 2, R + 2)}.

        Raises:
            ConfigError: if a map is not two pixels larger than its resolution.
        """
        for resolution, padded in maps.items():
            if tuple(padded.shape[-2:]) != (resolution + 2, resolution + 2):
                raise ConfigError(
                    f"The map at {resolution} px must measure {resolution + 2}×{resolution + 2}, "
                    f"not {padded.shape[-2]}×{padded.shape[-1]}."
                )
        return cls(const, {resolution: map_to_ring(padded) for resolution, padded in maps.items()})

    def map(self, function: Callable[..., Tensor], *others: PaddingCode) -> PaddingCode:
        """Applies a function to the constant and each ring. Raises ConfigError unless all codes have the same parts."""
        for other in others:
            if other._parts() != self._parts():
                raise ConfigError(
                    f"These padding codes have different parts: {self._parts()} and {other._parts()}; "
                    "they come from encoders with different settings."
                )
        const = None
        if self.const is not None:
            const = function(self.const, *(other.const for other in others))
        rings = {r: function(self.rings[r], *(o.rings[r] for o in others)) for r in self.rings}
        up_rings = {r: function(self.up_rings[r], *(o.up_rings[r] for o in others)) for r in self.up_rings}
        return PaddingCode(const, rings, up_rings, self.scaled)

    def named_tensors(self) -> dict[str, Tensor]:
        """The parts by name: "const", "ring_R", "up_ring_R"; "scaled_ring_R" and so on if the style scales them."""
        named = {} if self.const is None else {"const": self.const}
        before = "scaled_" if self.scaled else ""
        named |= {f"{before}ring_{r}": self.rings[r] for r in self.padded_resolutions}
        return named | {f"{before}up_ring_{r}": self.up_rings[r] for r in sorted(self.up_rings)}

    @classmethod
    def from_named_tensors(cls, named: Mapping[str, Tensor]) -> PaddingCode | None:
        """The inverse of :meth:`named_tensors`; None if there is neither a constant nor a ring among the tensors."""
        parts: dict[str, dict[int, Tensor]] = {"ring_": {}, "up_ring_": {}}
        scaled = any(name.startswith("scaled_") for name in named)
        for name, tensor in named.items():
            if found := _RING.fullmatch(name):
                parts[found[1]][int(found[2])] = tensor
        const, rings, up_rings = named.get("const"), *parts.values()
        return cls(const, rings, up_rings, scaled) if rings or up_rings or const is not None else None

    def _parts(self) -> str:
        told = f"{'a constant and ' if self.const is not None else ''}rings at {self.padded_resolutions} px"
        told += f" and, for upsampling, at {sorted(self.up_rings)} px" if self.up_rings else ""
        return told + (", scaled by the style" if self.scaled else "")


@dataclass(frozen=True, eq=False, repr=False)
class InversionCode(_Code):
    """What ``encoder(images)`` returns and ``generator.synthesis(*code.parts)`` turns into images.

    Args:
        w_plus: style latents, one for each layer, (B, L, 512).
        padding: the padding code of the same images, or None for a W+ code.
        features: {R: (B, C_R, R, R)}, for some resolutions R a residual that the synthesis adds to what its block of
            R px makes. None, an empty mapping and zeros all mean none.

    Raises:
        ConfigError: if the latents are not three-dimensional, features are not as large as their resolution, or the
            batch sizes differ.

    >>> code = InversionCode(torch.zeros(2, 6, 16), None, {8: torch.ones(2, 4, 8, 8)})
    >>> code.feature_resolutions, list(code[0].named_tensors()), InversionCode(code.w_plus, None, {}).features
    ([8], ['w_plus', 'features_8'], None)
    """

    w_plus: Tensor
    padding: PaddingCode | None = None
    features: Mapping[int, Tensor] | None = None

    def __post_init__(self) -> None:
        if not self.features:
            object.__setattr__(self, "features", None)  # no features have one form
        _check_parts({"w_plus": self.w_plus}, self.features or {})
        if not isinstance(self.padding, PaddingCode | None):
            raise ConfigError(f"The padding is a PaddingCode, or None, not a {type(self.padding).__name__}.")
        if self.w_plus.ndim != 3:
            raise ConfigError(f"Style latents have shape (B, L, 512), not {tuple(self.w_plus.shape)}.")
        if self.padding is not None and next(self.padding.tensors()).shape[0] != self.w_plus.shape[0]:
            raise ConfigError(f"{len(self.w_plus)} latents cannot go with the padding of {len(self.padding)} images.")
        for resolution, residual in (self.features or {}).items():
            if residual.ndim != 4 or tuple(residual.shape[2:]) != (resolution, resolution):
                raise ConfigError(
                    f"The features at {resolution} px have shape (B, C, {resolution}, {resolution}), not "
                    f"{tuple(residual.shape)}."
                )
            if residual.shape[0] != self.w_plus.shape[0]:
                raise ConfigError(f"{len(self.w_plus)} latents cannot go with the features of {len(residual)} images.")

    @property
    def parts(self) -> tuple[Tensor, PaddingCode | None, Mapping[int, Tensor] | None]:
        """Latents, padding and features, as the synthesis takes them: ``generator.synthesis(*code.parts)``."""
        return self.w_plus, self.padding, self.features

    @property
    def feature_resolutions(self) -> list[int]:
        """The resolutions with features, ascending."""
        return sorted(self.features or {})

    def map(self, function: Callable[..., Tensor], *others: InversionCode) -> InversionCode:
        """Applies a function to each tensor of a code. Raises ConfigError unless all codes have the same parts."""
        w_plus = function(self.w_plus, *(other.w_plus for other in others))
        paddings = [other.padding for other in others if other.padding is not None]
        if len(paddings) != (len(others) if self.padding is not None else 0):
            raise ConfigError("Some of these codes have padding and some have none; drop it or add it before.")
        padding = None if self.padding is None else self.padding.map(function, *paddings)
        for other in others:
            if other.feature_resolutions != self.feature_resolutions:
                raise ConfigError(
                    f"Some of these codes have features at {self.feature_resolutions} px and some at "
                    f"{other.feature_resolutions} px; drop or add them before (zeros are none)."
                )
        features = {r: function(f, *((o.features or {})[r] for o in others)) for r, f in (self.features or {}).items()}
        return InversionCode(w_plus, padding, features)

    def named_tensors(self) -> dict[str, Tensor]:
        """The parts by name, as for a file: "w_plus", "const", then "ring_R" and "features_R" by resolution R."""
        named = {"w_plus": self.w_plus} | ({} if self.padding is None else self.padding.named_tensors())
        return named | {f"features_{r}": residual for r, residual in sorted((self.features or {}).items())}

    @classmethod
    def from_named_tensors(cls, named: Mapping[str, Tensor]) -> InversionCode:
        """The inverse of :meth:`named_tensors`."""
        part = "features_"
        features = {int(name.removeprefix(part)): tensor for name, tensor in named.items() if name.startswith(part)}
        return cls(named["w_plus"], PaddingCode.from_named_tensors(named), features)


@dataclass(frozen=True)
class CodeShape:
    """What a generator asks of an encoder: the shape of the codes it consumes.

    Args:
        num_layers: number L of style latents, 2·log2(resolution) - 2.
        w_dim: width of a latent.
        channels: channels C_R of ring and features at each resolution R that the generator has; at 4 px also the
            constant's.
    """

    num_layers: int
    w_dim: int
    channels: dict[int, int]
