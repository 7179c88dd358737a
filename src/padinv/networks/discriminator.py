"""StyleGAN2's discriminator (Karras et al. 2019), residual architecture, with minibatch standard deviation."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from padinv.batches import check_numbers
from padinv.exceptions import ConfigError
from padinv.networks.arguments import check_channels, check_clamp, given_arguments
from padinv.ops.equalized import EqualizedConv2d, EqualizedLinear, scaled_leaky_relu
from padinv.ops.resampling import blur, blur_downsample, fir_kernel


def minibatch_stddev(x: Tensor, group_size: int | None = 4) -> Tensor:
    """Appends a channel that tells how much the samples of a group differ (Karras et al. 2018, section 3).

    Groups are interleaved: of N samples, those with the same remainder modulo N / group_size form one. Samples shared
    out over ranks in turn, as DistributedSampler does it, are therefore grouped the same as on one process.

    Args:
        x: (B, C, H, W).
        group_size: samples in a group; the whole batch if it is smaller, or if None.

    Returns:
        (B, C + 1, H, W).

    Raises:
        ConfigError: if the batch is larger than a group and no multiple of it, or empty.
    """
    if not len(x):
        raise ConfigError("A batch has no images, but the minibatch statistic needs one or more.")
    size = len(x) if group_size is None else min(group_size, len(x))
    if len(x) % size:
        raise ConfigError(f"A batch of {len(x)} images has no whole groups of {size}; use a multiple of {size}.")
    grouped = rearrange(x.float(), "(g n) c h w -> g n c h w", g=size)
    # 1e-8 as published: the root has no gradient at 0.
    stddev = (grouped.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    channel = repeat(stddev, "n -> (g n) 1 h w", g=size, h=x.shape[2], w=x.shape[3])
    return torch.cat([x, channel.to(x.dtype)], dim=1)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, the second halving the size, beside a 1×1 skip; the sum is scaled by √½."""

    kernel: Tensor

    def __init__(self, in_channels: int, out_channels: int, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        self.conv = EqualizedConv2d(in_channels, in_channels, 3)
        self.down = EqualizedConv2d(in_channels, out_channels, 3)
        self.skip = EqualizedConv2d(in_channels, out_channels, 1, bias=False)
        self.register_buffer("kernel", fir_kernel(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, R, R) to (B, C', R / 2, R / 2)."""
        skip = self.skip(blur_downsample(x, self.kernel))
        x = scaled_leaky_relu(self.conv(x), self.clamp)
        x = scaled_leaky_relu(self.down(blur(x, self.kernel, padding=(2, 2)), stride=2, padding=0), self.clamp)
        out: Tensor = (x + skip) * math.sqrt(0.5)  # the sum of two has twice the variance
        return out


class Discriminator(nn.Module):
    """Images to scores: high for what looks real.

    Args:
        resolution: height and width of the images in pixels, a power of two from 8 to 1024.
        channels: channels at each resolution from 4 px up; :func:`~padinv.networks.stylegan2_channels` if not given.
        mbstd_group_size: number of samples in a group of the minibatch standard deviation; None for the whole batch.
        conv_clamp: bound on the absolute value of what each convolution gives, 256 in NVIDIA's networks with float16
            layers; none if not given.
        mbstd_groups: the former name of ``mbstd_group_size``, deprecated.

    Raises:
        ConfigError: if the resolution, the channels, the group size or the bound do not make a discriminator.
    """

    def __init__(
        self,
        resolution: int = 256,
        *,
        channels: dict[int, int] | None = None,
        mbstd_group_size: int | None = 4,
        conv_clamp: float | None = None,
        mbstd_groups: int | Literal["renamed"] | None = "renamed",
    ) -> None:
        super().__init__()
        if mbstd_groups != "renamed":  # configs of older runs have it
            warnings.warn("mbstd_groups is called mbstd_group_size now.", DeprecationWarning, stacklevel=2)
            mbstd_group_size = mbstd_groups
        channels, conv_clamp = check_channels(resolution, channels), check_clamp(conv_clamp)
        if mbstd_group_size is not None and (type(mbstd_group_size) is not int or mbstd_group_size < 1):
            raise ConfigError(
                f"mbstd_group_size must be 1 or more, or None for the whole batch, not {mbstd_group_size!r}."
            )
        self.conv_clamp = conv_clamp
        self.from_rgb = EqualizedConv2d(3, channels[resolution], 1)
        self.blocks = nn.ModuleDict(
            {str(r): ResidualBlock(channels[r], channels[r // 2], conv_clamp) for r in sorted(channels)[:0:-1]}
        )
        self.conv = EqualizedConv2d(channels[4] + 1, channels[4], 3)
        self.dense = EqualizedLinear(channels[4] * 16, channels[4])  # 16 positions, 4×4 px
        self.score = EqualizedLinear(channels[4], 1)
        self.resolution = resolution
        self.mbstd_group_size = mbstd_group_size
        self.config = given_arguments(Discriminator, locals(), "mbstd_groups")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Discriminator:
        """Builds a discriminator, with weights not yet loaded, from what :attr:`config` says of another.

        Files from before ``mbstd_group_size`` had this name call it ``mbstd_groups``.
        """
        return cls(**{{"mbstd_groups": "mbstd_group_size"}.get(name, name): value for name, value in config.items()})

    def features(self, images: Tensor) -> list[Tensor]:
        """The maps after each block, [(B, C_r, r, r), …] from half the resolution down to 4 px.

        They depend on each image alone: the minibatch statistic comes after them.

        Args:
            images: (B, 3, H, W) in [-1, 1].

        Raises:
            ConfigError: if the images have another resolution.
        """
        check_numbers(images, "The images", self.score.weight)
        if images.shape[1:] != (3, self.resolution, self.resolution):
            raise ConfigError(
                f"This discriminator takes images (B, 3, {self.resolution}, {self.resolution}), "
                f"not {tuple(images.shape)}."
            )
        x = scaled_leaky_relu(self.from_rgb(images), self.conv_clamp)
        maps = []
        for block in self.blocks.values():
            x = block(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Scores images (B, 3, H, W) in [-1, 1]: (B, 1)."""
        x = minibatch_stddev(self.features(images)[-1], self.mbstd_group_size)
        x = scaled_leaky_relu(self.conv(x), self.conv_clamp)
        x = scaled_leaky_relu(self.dense(x.flatten(1)))
        scores: Tensor = self.score(x)
        return scores
