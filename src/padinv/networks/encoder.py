"""PadInv's encoder: an image becomes style latents *and* padding (PadInv, Bai et al. 2022).

backbone → feature pyramid → one style head for each latent, and the padding head on one level. Without the padding head
it is pSp's encoder to W+. With feature heads it also predicts what the synthesis adds to its features, as FS (Xuan et
al. 2022) and SFE (Bobkov et al. 2024) do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.batches import check_numbers
from padinv.codes import CodeShape, InversionCode, PaddingCode
from padinv.exceptions import ConfigError
from padinv.networks.arguments import check_resolution, check_widths, given_arguments
from padinv.networks.backbone import IResNet
from padinv.networks.heads import FeatureHead, FeaturePyramid, PaddingHead, StyleHead, resized
from padinv.networks.synthesis import SynthesisNetwork

PADDED_RESOLUTIONS = (4, 8, 16, 32)
"""The published choice (PadInv, Bai et al. 2022): what is larger than 32 px is texture, not layout."""

PADDING_SIZE = 32
"""Size in pixels of the pyramid level that padding comes from: the second level at the published 256 px."""

INITIAL_GAIN = 0.1
"""Factor on the heads' initial weights. Training then starts near the mean image, which is closer to most photographs
than a random image is, and random padding does not drown out the style latents in the first steps."""


def split_latents(num_layers: int) -> list[int]:
    """Splits the latents over the levels of the pyramid, the coarsest first: three, four and the rest.

    >>> split_latents(18), split_latents(14), split_latents(6)
    ([3, 4, 11], [3, 4, 7], [3, 3, 0])
    """
    coarse = min(3, num_layers)
    middle = min(4, num_layers - coarse)
    return [coarse, middle, num_layers - coarse - middle]


def pyramid_sizes(resolution: int) -> list[int]:
    """Heights of the pyramid's three levels in pixels, the coarsest first.

    >>> pyramid_sizes(256), pyramid_sizes(64)
    ([16, 32, 64], [8, 16, 32])
    """
    top = max(8, resolution // 16)
    return [top, 2 * top, 4 * top]


def level_nearest(resolution: int, size: int = PADDING_SIZE) -> int:
    """The level of the pyramid of this size in pixels, or the nearest to it.

    Padding comes from the level of 32 px, features at R px from the level of R px.

    >>> level_nearest(256), [level_nearest(64, r) for r in (4, 8, 16, 32, 64)]
    (1, [0, 0, 1, 2, 2])
    """
    sizes = pyramid_sizes(resolution)
    return min(range(3), key=lambda level: abs(math.log2(sizes[level] / size)))


class PadInvEncoder(nn.Module):
    """Maps images to inversion codes.

    The backbone halves the size four times, less often for images under 128 px so that its top keeps 8 px. The last
    three stages make the pyramid, whose levels have 16, 32 and 64 px at 256 px. The padding comes from the middle one.

    Args:
        code: the shape of the codes that the generator consumes, ``generator.code_shape``.
        resolution: height and width of the images that it reads, a power of two from 32 to 1024.
        depth: depth of the backbone: 50 (published), 100, 152, or 18 for small images.
        width: channels of the backbone's first stage, 64 as published.
        fpn_channels: channels of the pyramid and the heads, 8·width (published: 512) if not given.
        padded_resolutions: sizes in pixels at which padding is predicted; if not given, those of 4, 8, 16 and 32 px
            that the generator has. An empty list for none.
        replace_const: whether the generator's constant input is predicted, too.
        padding_level: the level of the pyramid that all padding comes from: 0 for the coarsest, 1 or 2. If not given,
            the level of 32 px, as published, or the nearest to it.
        padding_depth: bottlenecks between that level and the padding, 2 as published.
        padding_heads: whether each ring has a 1×1 convolution of its own, as published by default; without, all rings
            are borders of one map, fpn_channels wide.
        padding_from_all_levels: whether the padding comes from all levels, resized to that one and joined by a 1×1
            convolution; as published from one alone.
        resize_to_rings: whether the map is resized to each ring, which then comes from the picture's border; as
            published it is cropped to its centre, so that only the largest ring does.
        up_rings: whether rings are predicted for the upsampling convolutions, too
            (:func:`padinv.ops.ring.upsampled_ring`); as published they keep their zeros.
        style_scales_rings: whether the style multiplies rings as it does what is inside; as published it does not.
        latents_per_level: how many latents come from each level, the coarsest first; :func:`split_latents` if not
            given.
        first_for_all: whether the first offset is added to all others, as in e4e (Tov et al. 2021, section 4).
        feature_resolutions: where a residual is predicted that the synthesis adds to its features, each by three
            convolutions on the level of the pyramid of that size or the nearest; nowhere, as published, if not given.
        feature_width: channels between these convolutions, fpn_channels if not given.
        feature_fusion: whether these convolutions also see the generator's own features of that size, made of the
            latents and the padding just predicted, as SFE's and StyleRes's do. It then needs the generator in between.
        feature_pixels: whether these convolutions also see the image itself, each square of pixels that lies under a
            position folded into channels (:func:`torch.nn.functional.pixel_unshuffle`). The backbone has too few
            channels to tell them all of it.
        passes: how often the encoder looks, 1 as published. With more it sees the image and its reconstruction so far,
            and predicts a step (:mod:`padinv.networks.passes`); it then needs the generator in between.
        w_avg: the mean latent (w_dim,), from which latents are offsets; zeros if not given. It is part of the state.
        const_avg: the generator's learned constant (C_4, 4, 4), from which predicted ones are offsets; zeros, as
            published, if not given. It is part of the state if the constant is predicted.

    Raises:
        ConfigError: if an option does not fit the others or the generator.

    >>> encoder = PadInvEncoder(CodeShape(6, 32, {4: 16, 8: 16, 16: 8}), resolution=32, depth=18, width=4)
    >>> code = encoder.eval()(torch.zeros(2, 3, 32, 32))
    >>> code.w_plus.shape, {r: ring.shape[1:] for r, ring in code.padding.rings.items()}
    (torch.Size([2, 6, 32]), {4: torch.Size([16, 20]), 8: torch.Size([16, 36]), 16: torch.Size([8, 68])})
    """

    w_avg: Tensor
    const_avg: Tensor | None

    def __init__(
        self,
        code: CodeShape,
        *,
        resolution: int = 256,
        depth: int = 50,
        width: int = 64,
        fpn_channels: int | None = None,
        padded_resolutions: Sequence[int] | None = None,
        replace_const: bool = True,
        padding_level: int | None = None,
        padding_depth: int = 2,
        padding_heads: bool = True,
        padding_from_all_levels: bool = False,
        resize_to_rings: bool = False,
        up_rings: bool = False,
        style_scales_rings: bool = False,
        latents_per_level: Sequence[int] | None = None,
        first_for_all: bool = False,
        feature_resolutions: Sequence[int] = (),
        feature_width: int | None = None,
        feature_fusion: bool = False,
        feature_pixels: bool = False,
        passes: int = 1,
        w_avg: Tensor | None = None,
        const_avg: Tensor | None = None,
    ) -> None:
        super().__init__()
        check_resolution(resolution, minimum=32)
        check_widths(width=width, fpn_channels=fpn_channels, feature_width=feature_width)
        fpn_channels = fpn_channels or 8 * width
        if padded_resolutions is None:
            padded_resolutions = [r for r in PADDED_RESOLUTIONS if r in code.channels]
        padded_resolutions, feature_resolutions = sorted(padded_resolutions), sorted(set(feature_resolutions))
        named = {"padded_resolutions": padded_resolutions, "feature_resolutions": feature_resolutions}
        for option, r in ((option, r) for option, resolutions in named.items() for r in resolutions):
            if r not in code.channels:
                raise ConfigError(
                    f"{option} names {r} px, but this generator has layers at {sorted(code.channels)} px."
                )
        for option, chosen in {"feature_fusion": feature_fusion, "feature_pixels": feature_pixels}.items():
            if chosen and not feature_resolutions:
                raise ConfigError(f"{option} is for features: name some feature_resolutions, or leave it out.")
        latents_per_level = list(latents_per_level or split_latents(code.num_layers))
        if len(latents_per_level) != 3 or sum(latents_per_level) != code.num_layers or min(latents_per_level) < 0:
            raise ConfigError(
                f"latents_per_level must be three numbers that add up to the generator's {code.num_layers} latents, "
                f"not {latents_per_level}."
            )
        if padding_level not in (None, 0, 1, 2):
            raise ConfigError(f"padding_level must be 0, 1 or 2, a level of the pyramid, not {padding_level}.")
        padding_level = level_nearest(resolution) if padding_level is None else padding_level
        if padding_depth < 0:
            raise ConfigError(f"padding_depth must be 0 or more, not {padding_depth}.")
        if passes < 1:
            raise ConfigError(f"passes must be 1 or more, not {passes}.")

        sizes = pyramid_sizes(resolution)
        halvings = (resolution // sizes[0]).bit_length() - 1
        colours = 3 if passes == 1 else 6
        # Small images are halved less often, and in the last stages: the first ones, at full size, then see more.
        self.backbone = IResNet(depth, width, [1] * (4 - halvings) + [2] * halvings, colours)
        self.fpn = FeaturePyramid(self.backbone.channels[:0:-1], fpn_channels)
        self.style_heads = nn.ModuleList(
            StyleHead(fpn_channels, fpn_channels, size, code.w_dim)
            for size, count in zip(sizes, latents_per_level, strict=True)
            for _ in range(count)
        )
        self.padding_head: PaddingHead | None = None
        self.padding_merge: nn.Module | None = None
        if padded_resolutions or replace_const:
            self.padding_head = PaddingHead(
                fpn_channels,
                code.channels,
                padded_resolutions,
                replace_const,
                depth=padding_depth,
                heads=padding_heads,
                resize=resize_to_rings,
                up_rings=up_rings,
            )
            if padding_from_all_levels:
                self.padding_merge = nn.Conv2d(3 * fpn_channels, fpn_channels, 1)
        self.feature_heads = nn.ModuleDict()
        for r in feature_resolutions:
            seen = feature_fusion * code.channels[r] + feature_pixels * colours * max(1, resolution // r) ** 2
            head = FeatureHead(fpn_channels, feature_width or fpn_channels, code.channels[r], r, seen)
            self.feature_heads[str(r)] = head
        self.register_buffer("w_avg", torch.zeros(code.w_dim) if w_avg is None else w_avg.detach().clone())
        start = torch.zeros(code.channels.get(4, 0), 4, 4) if const_avg is None else const_avg.detach().clone()
        self.register_buffer("const_avg", start if replace_const else None)
        self._shrink_heads()
        self.code_shape, self.resolution, self.passes = code, resolution, passes
        self.latents_per_level, self.first_for_all = latents_per_level, first_for_all
        self.padded_resolutions, self.padding_level = padded_resolutions, padding_level
        self.style_scales_rings = style_scales_rings
        self.feature_resolutions = feature_resolutions
        self.feature_fusion, self.feature_pixels = feature_fusion, feature_pixels
        arguments = given_arguments(PadInvEncoder, locals(), "w_avg", "const_avg")
        self.config: dict[str, Any] = {**arguments, "code": asdict(code)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PadInvEncoder:
        """Builds an encoder, with weights not yet loaded, from what :attr:`config` says of another."""
        return cls(**{**config, "code": CodeShape(**config["code"])})

    def forward(
        self,
        images: Tensor,
        reconstruction: Tensor | None = None,
        code: InversionCode | None = None,
        *,
        synthesis: SynthesisNetwork | None = None,
    ) -> InversionCode:
        """Encodes images, or takes one of several passes.

        Args:
            images: (B, 3, resolution, resolution) in [-1, 1].
            reconstruction: what the generator makes of them so far, of the same shape; only for several passes.
            code: the code of this reconstruction, to which a step is added; in the first pass not given.
            synthesis: the generator's synthesis network, only for feature_fusion. It passes no gradient on.

        Returns:
            Latents (B, L, w_dim), the padding code, or None without a padding head, and features if it predicts any.

        Raises:
            ConfigError: if the images have another size, or an encoder of several passes is given no reconstruction,
                or one with feature_fusion no generator.
        """
        self._check(images, reconstruction, synthesis)
        seen = images if reconstruction is None else torch.cat([images, reconstruction], dim=1)
        return self._moved(self._step(seen, code, synthesis), code)

    def _moved(self, step: InversionCode, code: InversionCode | None) -> InversionCode:
        """Adds a step to the code so far, or to the mean latent and constant."""
        if code is not None:
            return code.map(torch.add, step)
        padding = step.padding
        if padding is not None and padding.const is not None and self.const_avg is not None:
            padding = replace(padding, const=self.const_avg + padding.const)
        return InversionCode(self.w_avg + step.w_plus, padding, step.features)

    def _step(
        self, images: Tensor, code: InversionCode | None = None, synthesis: SynthesisNetwork | None = None
    ) -> InversionCode:
        """What the heads predict: the distance from the mean latent and constant, or from the code so far."""
        levels = self.fpn(self.backbone(images)[:0:-1])
        sources = [level for level, count in zip(levels, self.latents_per_level, strict=True) for _ in range(count)]
        offsets = torch.stack([head(level) for head, level in zip(self.style_heads, sources, strict=True)], dim=1)
        if self.first_for_all:
            offsets = torch.cat([offsets[:, :1], offsets[:, :1] + offsets[:, 1:]], dim=1)
        step = InversionCode(offsets, self._padding(levels))
        seen: dict[int, list[Tensor]] = {r: [] for r in self.feature_resolutions}
        if self.feature_fusion and synthesis is not None:
            for r, made in self._generated(step, code, synthesis).items():
                seen[r].append(made)
        if self.feature_pixels:
            for r, maps in seen.items():
                maps.append(F.pixel_unshuffle(images, self.resolution // r) if r < self.resolution else images)
        near = {r: levels[level_nearest(self.resolution, r)] for r in self.feature_resolutions}
        return replace(step, features={r: self.feature_heads[str(r)](near[r], *seen[r]) for r in near})

    def _padding(self, levels: list[Tensor]) -> PaddingCode | None:
        """The padding from one level of the pyramid, or from all of them resized to it."""
        if self.padding_head is None:
            return None
        source = levels[self.padding_level]
        if self.padding_merge is not None:
            source = self.padding_merge(torch.cat([resized(x, source.shape[-1]) for x in levels], dim=1))
        const, rings, up_rings = self.padding_head(source)
        return PaddingCode(const, rings, up_rings, self.style_scales_rings and bool(rings))

    @torch.no_grad()
    def _generated(
        self, step: InversionCode, code: InversionCode | None, synthesis: SynthesisNetwork
    ) -> dict[int, Tensor]:
        """The generator's own maps of the step's latents and padding, with the features so far."""
        moved = self._moved(step, None if code is None else replace(code, features=None))
        features = None if code is None else code.features
        return synthesis.maps(self.feature_resolutions, moved.w_plus, moved.padding, features)

    def _check(self, images: Tensor, reconstruction: Tensor | None, synthesis: SynthesisNetwork | None) -> None:
        """Raises ConfigError unless this encoder can encode these images in this way."""
        seen = [images] if reconstruction is None else [images, reconstruction]
        for each in seen:
            check_numbers(each, "The images", self.w_avg)
        if any(each.shape[1:] != (3, self.resolution, self.resolution) for each in seen):
            raise ConfigError(
                f"This encoder reads images (B, 3, {self.resolution}, {self.resolution}), not "
                f"{' and '.join(str(tuple(each.shape)) for each in seen)}; resize them, or set the data's resolution "
                "to it."
            )
        elsewhere = "use an Inverter, or padinv.networks.encode."
        if (reconstruction is None) != (self.passes == 1):
            how = "and takes images alone." if self.passes == 1 else f"with the generator in between: {elsewhere}"
            raise ConfigError(f"This encoder was made for {self.passes} passes, {how}")
        if self.feature_fusion and synthesis is None:
            raise ConfigError(f"This encoder's feature_fusion needs the generator: {elsewhere}")

    @torch.no_grad()
    def _shrink_heads(self) -> None:
        last: list[nn.Module] = [head.linear for head in self.style_heads if isinstance(head, StyleHead)]
        if self.padding_head is not None:
            last += self.padding_head.outputs()
        for layer in last:
            for parameter in layer.parameters():
                parameter.mul_(INITIAL_GAIN)
