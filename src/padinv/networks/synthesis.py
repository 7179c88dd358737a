"""StyleGAN2's synthesis network (Karras et al. 2019), skip architecture, whose padding is an argument.

Without padding it is StyleGAN2 exactly. With it (PadInv, Bai et al. 2022) a predicted constant replaces the learned
one, and at the padded resolutions a predicted ring replaces the zeros around the input of the 3×3 convolution of
stride 1. Features are a residual that is added to what a block makes; edited latents then move both the block's own
maps and what is above them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.batches import check_numbers
from padinv.codes import PaddingCode
from padinv.cpu import FrozenWeight, Recomputable
from padinv.exceptions import ConfigError
from padinv.ops.equalized import EqualizedLinear, limit
from padinv.ops.modulated_conv import modulated_conv1x1, modulated_conv2d
from padinv.ops.resampling import fir_kernel, upsample
from padinv.typing import Noise


class StyleConv(Recomputable):
    """A modulated 3×3 convolution with noise, bias and activation.

    Args:
        in_channels: channels of the input.
        out_channels: channels of its output.
        w_dim: width of its latent.
        resolution: height and width of the output in pixels.
        up: whether it doubles the resolution.
        clamp: bound on the absolute value of its output, if there is one.
    """

    kernel: Tensor
    noise: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        *,
        up: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.style = EqualizedLinear(w_dim, in_channels, bias_init=1.0)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(1, 1, resolution, resolution))
        self.register_buffer("kernel", fir_kernel(), persistent=False)
        self.frozen: FrozenWeight | None = None
        self.up = up
        self.clamp = clamp

    def forward(
        self, x: Tensor, w: Tensor, *, ring: Tensor | None = None, scale_ring: bool = False, noise: Noise = "const"
    ) -> Tensor:
        """Maps (B, C, R, R) and the latent (B, w_dim) to (B, C', R', R')."""
        # The gain √2 of the activation is put on the small factors. In place is safe: no gradient needs these maps.
        gain = math.sqrt(2)
        x = modulated_conv2d(
            x,
            self.weight,
            self.style(w),
            ring=ring,
            scale_ring=scale_ring,
            upsample_kernel=self.kernel if self.up else None,
            bias=self.bias,
            gain=gain,
            frozen=self.frozen,
        )
        if noise != "none":
            image = self.noise if noise == "const" else torch.randn_like(x[:, :1])
            x = x.add_((image * (self.noise_strength * gain)).to(x.dtype))
        return limit(F.leaky_relu(x, 0.2, inplace=True), self.clamp)

    def folded(self, dtype: torch.dtype | None) -> StyleConv:
        """Keeps what depends on the weight alone (:func:`padinv.cpu.fold`)."""
        self.frozen = FrozenWeight.of(self.weight, self.up, dtype)
        if dtype is not None:
            self.weight = nn.Parameter(self.weight.to(dtype), requires_grad=False)
        return self


class ToRGB(Recomputable):
    """A modulated 1×1 convolution to three channels, without demodulation, noise or activation.

    Args:
        in_channels: channels of the input.
        w_dim: width of its latent.
        clamp: bound on the absolute value of its output, if there is one.
    """

    def __init__(self, in_channels: int, w_dim: int, clamp: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.style = EqualizedLinear(w_dim, in_channels, bias_init=1.0)
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Maps (B, C, R, R) and the latent (B, w_dim) to (B, 3, R, R)."""
        x = modulated_conv1x1(x, self.weight, self.style(w))
        return limit(x + self.bias[:, None, None].to(x.dtype), self.clamp)


class SynthesisBlock(nn.Module):
    """All layers of one resolution: ``up`` (none at 4 px), ``conv``, the one with the padding ring, and ``to_rgb``."""

    kernel: Tensor

    def __init__(
        self, in_channels: int | None, channels: int, w_dim: int, resolution: int, clamp: float | None = None
    ) -> None:
        super().__init__()
        self.up = None
        if in_channels is not None:
            self.up = StyleConv(in_channels, channels, w_dim, resolution, up=True, clamp=clamp)
        self.conv = StyleConv(channels, channels, w_dim, resolution, clamp=clamp)
        self.to_rgb = ToRGB(channels, w_dim, clamp)
        self.register_buffer("kernel", fir_kernel(), persistent=False)

    def forward(
        self,
        x: Tensor,
        image: Tensor | None,
        latents: Sequence[Tensor],
        *,
        ring: Tensor | None = None,
        up_ring: Tensor | None = None,
        scale_rings: bool = False,
        features: Tensor | None = None,
        noise: Noise = "const",
    ) -> tuple[Tensor, Tensor]:
        """Maps features and the image so far from half the resolution to this one.

        Args:
            x: (B, C, R / 2, R / 2); at 4 px the constant, (B, C, 4, 4).
            image: (B, 3, R / 2, R / 2); None at 4 px.
            latents: the latents of ``up`` (none at 4 px), ``conv`` and ``to_rgb``, (B, w_dim) each.
            ring: (B, C', 4R + 4), the padding of ``conv``.
            up_ring: (B, C, 4R + 4), the padding of ``up`` (:func:`padinv.ops.ring.upsampled_ring`).
            scale_rings: whether the styles multiply them.
            features: (B, C', R, R), added to what ``conv`` gives, after its activation: ``to_rgb`` and the next block
                read the sum.
            noise: as for :meth:`SynthesisNetwork.forward`.

        Returns:
            (B, C', R, R) and (B, 3, R, R).
        """
        if self.up is not None:
            x = self.up(x, latents[0], ring=up_ring, scale_ring=scale_rings, noise=noise)
        x = self.conv(x, latents[-2], ring=ring, scale_ring=scale_rings, noise=noise)
        if features is not None:
            x = x + features.to(x.dtype)  # not in place: the activation keeps its result for the gradient
        rgb: Tensor = self.to_rgb(x, latents[-1]).to(latents[-1].dtype)
        if image is not None:
            # The sum over all resolutions is the image: half precision would show in it.
            with torch.autocast(x.device.type, enabled=False):
                rgb = rgb + upsample(image, self.kernel)
        return x, rgb


class SynthesisNetwork(nn.Module):
    """Style latents and padding to images.

    Args:
        resolution: height and width of the images in pixels, a power of two from 8 to 1024.
        w_dim: width of a latent.
        channels: channels at each resolution from 4 px up.
        conv_clamp: bound on the absolute value of what each convolution gives, if there is one.
    """

    def __init__(self, resolution: int, w_dim: int, channels: dict[int, int], conv_clamp: float | None = None) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.randn(1, channels[4], 4, 4))
        self.blocks = nn.ModuleDict()
        for r in sorted(channels):
            self.blocks[str(r)] = SynthesisBlock(channels.get(r // 2), channels[r], w_dim, r, conv_clamp)
        self.resolution = resolution
        self.num_layers = 2 * int(math.log2(resolution)) - 2
        self.w_dim = w_dim
        self.channels = dict(channels)

    def forward(
        self,
        w_plus: Tensor,
        padding: PaddingCode | None = None,
        features: Mapping[int, Tensor] | None = None,
        noise: Noise = "const",
    ) -> Tensor:
        """Generates images.

        Args:
            w_plus: style latents (B, L, 512).
            padding: replaces the learned constant and the zeros around the maps; it is not written to.
            features: {R: (B, C_R, R, R)}, added to what the block of R px makes, after the activation of its stride-1
                convolution; None, or zeros, for nothing. They are not written to.
            noise: "const" for the stored noise images, "random" for new ones for each sample, or "none".

        Returns:
            Images (B, 3, H, W), in [-1, 1] except where they overshoot.

        Raises:
            ConfigError: if the latents, or resolutions or channels of padding or features, are not this generator's.
        """
        image, _ = self._run(w_plus, padding, features, noise)
        return image.contiguous()  # view(-1) and writers of files need this layout

    def maps(
        self,
        resolutions: Collection[int],
        w_plus: Tensor,
        padding: PaddingCode | None = None,
        features: Mapping[int, Tensor] | None = None,
    ) -> dict[int, Tensor]:
        """The network's own features, {R: (B, C_R, R, R)}: what ``features`` are added to, with these added.

        Args:
            resolutions: sizes in pixels of the wanted maps; blocks above the largest are not computed.
            w_plus: as for :meth:`forward`.
            padding: as for :meth:`forward`.
            features: as for :meth:`forward`.

        Raises:
            ConfigError: as for :meth:`forward`, or if there is no such resolution.

        >>> synthesis = SynthesisNetwork(16, 8, {4: 8, 8: 6, 16: 4})
        >>> {r: tuple(x.shape) for r, x in synthesis.maps([8], torch.zeros(2, 6, 8)).items()}
        {8: (2, 6, 8, 8)}
        """
        if unknown := sorted(set(resolutions) - set(self.channels)):
            there = sorted(self.channels)
            raise ConfigError(
                f"The generator is asked for maps of {unknown} px, but this generator has layers at {there} px."
            )
        return self._run(w_plus, padding, features, "const", resolutions)[1]

    def _run(
        self,
        w_plus: Tensor,
        padding: PaddingCode | None,
        features: Mapping[int, Tensor] | None,
        noise: Noise,
        wanted: Collection[int] = (),
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Makes the image and the wanted maps. It stops at the last wanted map: the image is then unfinished."""
        if noise not in get_args(Noise):
            raise ConfigError(f"noise must be one of {', '.join(get_args(Noise))}, not {noise!r}.")
        self.check(w_plus, padding, features)
        padding = PaddingCode(self.const) if padding is None else padding
        residuals = features or {}
        found: dict[int, Tensor] = {}
        x = self.const if padding.const is None else padding.const
        x = x.to(w_plus.dtype).expand(w_plus.shape[0], *self.const.shape[1:])
        latents = w_plus.unbind(dim=1)
        image = None
        for k, (name, block) in enumerate(self.blocks.items()):
            own = latents[max(2 * k - 1, 0) : 2 * k + 2]  # up's latent is also the one of to_rgb below
            r = int(name)
            x, image = block(
                x,
                image,
                own,
                ring=padding.rings.get(r),
                up_ring=padding.up_rings.get(r),
                scale_rings=padding.scaled,
                features=residuals.get(r),
                noise=noise,
            )
            if r in wanted:
                found[r] = x
                if len(found) == len(wanted):
                    break
        return cast(Tensor, image), found

    def check(
        self, w_plus: Tensor, padding: PaddingCode | None = None, features: Mapping[int, Tensor] | None = None
    ) -> None:
        """Raises ConfigError if latents, padding or features do not have this generator's resolutions and channels."""
        check_numbers(w_plus, "The style latents", self.const)
        if w_plus.ndim != 3 or w_plus.shape[1:] != (self.num_layers, self.w_dim):
            raise ConfigError(
                f"This generator takes style latents (B, {self.num_layers}, {self.w_dim}), not {tuple(w_plus.shape)}."
            )
        rings, up_rings = ({}, {}) if padding is None else (padding.rings, padding.up_rings)
        for r, ring in rings.items():
            if self.channels.get(r) != ring.shape[1]:
                raise ConfigError(
                    f"The padding has a ring of {ring.shape[1]} channels at {r} px, but this generator has channels "
                    f"{self.channels}; encode for this generator, with padded_resolutions among those."
                )
        for r, ring in up_rings.items():
            if r not in self.channels or self.channels.get(r // 2) != ring.shape[1]:
                raise ConfigError(
                    f"The padding has a ring of {ring.shape[1]} channels for the upsampling to {r} px, but this "
                    f"generator has channels {self.channels}; encode for this generator."
                )
        if padding is not None and padding.const is not None and padding.const.shape[1:] != self.const.shape[1:]:
            raise ConfigError(
                f"The padding has a constant of {padding.const.shape[1]} channels, but this generator's has "
                f"{self.channels[4]}; encode for this generator."
            )
        if features is not None and not isinstance(features, Mapping):
            raise ConfigError(f"Features are tensors by resolution, {{R: (B, C_R, R, R)}}, not {features!r}.")
        for r, residual in (features or {}).items():
            expected = (self.channels.get(r), r, r)
            if tuple(residual.shape[1:]) != expected:
                raise ConfigError(
                    f"The features at {r} px have shape {tuple(residual.shape)}, but this generator has channels "
                    f"{self.channels} and takes (B, C, {r}, {r}); encode for this generator, with feature_resolutions "
                    "among those."
                )
