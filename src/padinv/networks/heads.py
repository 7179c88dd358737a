"""What the encoder makes of its backbone: a feature pyramid, style heads, the padding branch, and feature heads.

Padding (Bai et al. 2022) comes from one level of the pyramid. Two bottlenecks and a resize turn it into a map P that is
large enough for the largest ring. The constant is the centre 4×4 of P itself. The ring at R px is what a 1×1
convolution makes of the border of the centre (R+2)×(R+2) of P: a 1×1 convolution commutes with the crop, so only the
4R + 4 positions of the ring are ever computed. Without these convolutions, the border of P itself is the ring.

Features at R px come from the level of R px, or the nearest, by three convolutions for each R.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.cpu import Recomputable
from padinv.exceptions import ConfigError
from padinv.networks.backbone import Bottleneck, Conv3x3
from padinv.ops.equalized import EqualizedLinear
from padinv.ops.ring import map_to_ring

SLOPE = 0.01  # of leaky ReLUs below zero, PyTorch's default, as in pSp


class FeaturePyramid(nn.Module):
    """Adds to each level the level above, upsampled: gives fine levels the context of coarse ones (Lin et al. 2017).

    Args:
        in_channels: widths of the levels, the top (coarsest) first.
        channels: width of all levels of the pyramid; a top of this width is taken as it is.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        top, *rest = in_channels
        self.lateral = nn.ModuleList([nn.Identity() if top == channels else nn.Conv2d(top, channels, 1)])
        self.lateral.extend(nn.Conv2d(width, channels, 1) for width in rest)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Maps levels (B, C_i, H_i, W_i), the top first, to levels (B, channels, H_i, W_i)."""
        pyramid: list[Tensor] = []
        for lateral, level in zip(self.lateral, levels, strict=True):
            x = lateral(level)
            if pyramid:
                x = x + F.interpolate(pyramid[-1], size=x.shape[-2:], mode="bilinear", align_corners=True)
            pyramid.append(x)
        return pyramid


class StyleHead(nn.Module):
    """Folds a level of the pyramid into one style latent (pSp, section 3).

    Convolutions of stride 2 reduce the level to one pixel. A dense layer with an equalized learning rate follows.

    Args:
        in_channels: channels of the level.
        channels: channels of the convolutions.
        size: height and width of the level, a power of two.
        w_dim: width of the latent.
    """

    def __init__(self, in_channels: int, channels: int, size: int, w_dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        while size > 1:
            conv = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1)
            # PyTorch's default would shrink the signal at each of up to eight convolutions, and the gradient with it.
            nn.init.kaiming_normal_(conv.weight, a=SLOPE)
            layers += [conv, nn.LeakyReLU(SLOPE, inplace=True)]
            in_channels, size = channels, size // 2
        self.convs = nn.Sequential(*layers)
        self.linear = EqualizedLinear(in_channels, w_dim)

    def forward(self, level: Tensor) -> Tensor:
        """Maps (B, in_channels, size, size) to an offset from the mean latent, (B, w_dim)."""
        offset: Tensor = self.linear(self.convs(level).flatten(1))
        return offset


def center_crop(x: Tensor, size: int) -> Tensor:
    """The middle (B, C, size, size) of a map of even size."""
    margin = (x.shape[-1] - size) // 2
    return x[..., margin : margin + size, margin : margin + size]


def _bicubic(x: Tensor, size: int) -> Tensor:
    if x.is_cuda and torch.are_deterministic_algorithms_enabled():  # the gradient of torch's own never is, on GPUs
        return bicubic_by_products(x, size)
    return F.interpolate(x, size=(size, size), mode="bicubic", align_corners=True)  # as published


def bicubic_by_products(x: Tensor, size: int) -> Tensor:
    """Resizes maps (B, C, H, W) to (B, C, size, size) bicubically, as A · x · Bᵀ: the same except for rounding."""
    with torch.no_grad():
        eyes = [torch.eye(length, device=x.device).view(1, length, length, 1) for length in x.shape[2:]]
        # Column i is what a 1 at place i becomes.
        rows, columns = (
            F.interpolate(eye, size=(size, 1), mode="bicubic", align_corners=True)[0, :, :, 0].T for eye in eyes
        )
    with torch.autocast(x.device.type, enabled=False):
        return (rows @ x.float() @ columns.T).to(x.dtype)


class PaddingHead(nn.Module):
    """Predicts a padding code.

    Args:
        in_channels: channels of the level of the pyramid.
        channels: channels of the generator at each resolution.
        padded_resolutions: sizes in pixels at which rings are predicted; may be empty.
        replace_const: whether the constant is predicted.
        depth: number of bottlenecks before the heads.
        heads: whether each ring has its 1×1 convolution; without, all are as wide as the level.
        resize: whether the map is resized to each ring, which then comes from the picture's border; as published it
            comes from the border of the map's centre.
        up_rings: whether rings are predicted for the upsampling convolutions, too, of the same resolutions except 4 px.

    Raises:
        ConfigError: if rings without convolutions are not as wide as the generator.
    """

    def __init__(
        self,
        in_channels: int,
        channels: dict[int, int],
        padded_resolutions: Sequence[int],
        replace_const: bool = True,
        depth: int = 2,
        heads: bool = True,
        resize: bool = False,
        up_rings: bool = False,
    ) -> None:
        super().__init__()
        if up_rings and not heads:
            raise ConfigError("up_rings need padding_heads: without them, one ring would need two widths.")
        for r in [] if heads else padded_resolutions:
            if channels[r] != in_channels:
                raise ConfigError(
                    f"Without padding_heads the ring at {r} px has the {in_channels} channels of the pyramid, but this "
                    f"generator has {channels[r]} there; set fpn_channels to it, or take other padded_resolutions."
                )
        self.extractor = nn.Sequential(*(Bottleneck(in_channels, in_channels) for _ in range(depth)))
        self.size = max([2, *padded_resolutions]) + 2
        self.const_head: nn.Module | None = None
        if replace_const:
            same = channels[4] == in_channels
            self.const_head = nn.Identity() if same else nn.Conv2d(in_channels, channels[4], 1)
        self.resize = resize
        self.up_ring_heads = nn.ModuleDict(
            {str(r): nn.Conv1d(in_channels, channels[r // 2], 1) for r in padded_resolutions if up_rings and r > 4}
        )
        self.ring_heads = nn.ModuleDict(
            {str(r): nn.Conv1d(in_channels, channels[r], 1) if heads else nn.Identity() for r in padded_resolutions}
        )

    def outputs(self) -> list[nn.Module]:
        """The last layers, which the constant and the rings come from."""
        constant = [] if self.const_head is None else [self.const_head]
        return [*constant, *self.ring_heads.values(), *self.up_ring_heads.values()]

    def forward(self, level: Tensor) -> tuple[Tensor | None, dict[int, Tensor], dict[int, Tensor]]:
        """Predicts all padding from a level (B, in_channels, H, W).

        Returns:
            A constant (B, C_4, 4, 4) or None, rings {R: (B, C_R, 4R + 4)}, and rings for the upsampling convolutions,
            {R: (B, C_{R/2}, 4R + 4)}.
        """
        extracted = self.extractor(level)
        p = extracted if self.resize else _bicubic(extracted, self.size)
        take = _bicubic if self.resize else center_crop
        const = None if self.const_head is None else self.const_head(take(p, 4))
        borders = {r: map_to_ring(take(p, int(r) + 2)) for r in self.ring_heads}
        rings, up_rings = (
            {int(r): head(borders[r]) for r, head in heads.items()} for heads in (self.ring_heads, self.up_ring_heads)
        )
        return const, rings, up_rings


class FeatureHead(Recomputable):
    """Predicts the residual that the synthesis adds to its features at one resolution.

    The last convolution starts at zero. A new encoder therefore predicts no residual, and its training starts where an
    encoder without features would.

    Args:
        in_channels: channels of the level of the pyramid.
        hidden: channels between the convolutions.
        channels: the generator's channels at this resolution.
        resolution: height and width of the features in pixels.
        seen: channels of all that it sees beside the level: the generator's features, the image itself.
    """

    def __init__(self, in_channels: int, hidden: int, channels: int, resolution: int, seen: int = 0) -> None:
        super().__init__()
        self.resolution = resolution
        convs = [Conv3x3(width, hidden, bias=True) for width in (in_channels + seen, hidden)]
        for conv in convs:
            nn.init.kaiming_normal_(conv.weight, a=SLOPE)
        self.convs = nn.ModuleList(convs)
        self.output = Conv3x3(hidden, channels, bias=True)
        for parameter in self.output.parameters():
            nn.init.zeros_(parameter)

    def forward(self, level: Tensor, *seen: Tensor) -> Tensor:
        """Maps a level (B, in_channels, H, W) to a residual (B, channels, resolution, resolution).

        Args:
            level: the nearest level of the pyramid.
            seen: maps (B, C, h, w), seen channels in all.
        """
        x = torch.cat([resized(level, self.resolution), *(resized(each, self.resolution) for each in seen)], dim=1)
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE, inplace=True)
        residual: Tensor = self.output(x)
        return residual


def resized(level: Tensor, size: int) -> Tensor:
    """Brings a level (B, C, H, W) to another power of two, (B, C, size, size): by means or bilinearly."""
    if level.shape[-1] > size:
        return F.avg_pool2d(level, level.shape[-1] // size)
    if level.shape[-1] < size:
        return F.interpolate(level, size=(size, size), mode="bilinear", align_corners=False)
    return level
