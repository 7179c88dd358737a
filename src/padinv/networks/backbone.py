"""The residual network with squeeze-and-excitation that reads the image (IResNet-SE, as in ArcFace and pSp)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from padinv.cpu import Recomputable, conv3x3
from padinv.cpu.winograd import keep_transformed
from padinv.exceptions import ConfigError

STAGE_BLOCKS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    50: (3, 4, 14, 3),
    100: (3, 13, 30, 3),
    152: (3, 8, 36, 3),
}
"""Bottlenecks in each of the four stages by depth: 50, 100 and 152 as published, 18 for small images."""


class SqueezeExcitation(nn.Module):
    """Rescales each channel by a gate computed from all channel means (Hu et al. 2018).

    Args:
        channels: channels of input and output.
        reduction: how much narrower the hidden layer is.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.squeeze = nn.Conv2d(channels, hidden, 1, bias=False)
        self.excite = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        gate = self.excite(torch.relu(self.squeeze(x.mean(dim=(2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class Conv3x3(nn.Conv2d):
    """3×3 convolution with "same" zero padding.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        stride: 1 or 2.
        bias: whether it adds a bias, which is of no use before a norm.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, bias: bool = False) -> None:
        super().__init__(in_channels, channels, 3, stride=stride, padding=1, bias=bias)
        self.transformed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, channels, H / stride, W / stride)."""
        if self.stride != (1, 1):
            return super().forward(x)
        y = conv3x3(x, self.weight, padding=1, transformed=self.transformed)
        if self.bias is not None:  # its own, or a BatchNorm's that was folded into it
            bias = self.bias[:, None, None]
            y = y + bias if torch.is_grad_enabled() else y.add_(bias)  # the gradient of conv3x3 forbids it in place
        return y

    def folded(self, dtype: torch.dtype | None) -> Conv3x3:
        """Keeps the transform of the weight (:func:`padinv.cpu.fold`)."""
        if dtype is not None:
            self.weight = nn.Parameter(self.weight.to(dtype), requires_grad=False)
        if self.stride == (1, 1):
            self.transformed = keep_transformed(self.weight)
        return self


class Bottleneck(Recomputable):
    """BatchNorm, 3×3, PReLU, 3×3 with the stride, BatchNorm, squeeze-and-excitation; plus the shortcut.

    Where the widths agree the shortcut is every stride-th pixel, otherwise a 1×1 convolution and BatchNorm.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        stride: stride of the second convolution, 1 or 2.
    """

    cheap = True

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = Conv3x3(in_channels, channels)
        self.prelu = nn.PReLU(channels)
        self.conv2 = Conv3x3(channels, channels, stride)
        self.norm2: nn.Module = nn.BatchNorm2d(channels)
        self.se = SqueezeExcitation(channels)
        self.shortcut: nn.Module
        if in_channels == channels:
            self.shortcut = nn.MaxPool2d(1, stride) if stride > 1 else nn.Identity()
        else:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, channels, H / stride, W / stride)."""
        y = self.conv2(self.prelu(self.conv1(self.norm1(x))))
        out: Tensor = self.se(self.norm2(y)) + self.shortcut(x)
        return out

    def folded(self, dtype: torch.dtype | None) -> Bottleneck:
        """Folds its norms, except the first, into the convolutions before them (:func:`padinv.cpu.fold`)."""
        self.conv2 = fuse_conv_bn_eval(self.conv2, cast(nn.BatchNorm2d, self.norm2))
        self.norm2 = nn.Identity()
        if isinstance(self.shortcut, nn.Sequential):
            self.shortcut = _without_norm(self.shortcut)
        return self


class Stem(nn.Sequential, Recomputable):
    """The first convolution, BatchNorm and PReLU, at full size."""

    cheap = True

    def __init__(self, channels: int, in_channels: int = 3) -> None:
        conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        super().__init__(conv, nn.BatchNorm2d(channels), nn.PReLU(channels))

    def folded(self, dtype: torch.dtype | None) -> nn.Sequential:
        """Folds its norm into the convolution (:func:`padinv.cpu.fold`)."""
        return _without_norm(self)


def _without_norm(layers: nn.Sequential) -> nn.Sequential:
    """Folds the BatchNorm of (convolution, BatchNorm, ...) into the convolution."""
    conv, norm, *rest = layers
    return nn.Sequential(fuse_conv_bn_eval(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm)), *rest)


class IResNet(nn.Module):
    """Four stages of bottlenecks.

    Args:
        depth: 18, 50, 100 or 152.
        width: channels of the first stage; each further one has twice as many.
        strides: stride of the first bottleneck of each stage.
        in_channels: channels of all images that are seen at once, 3 each.

    Raises:
        ConfigError: if there is no such depth.
    """

    def __init__(
        self, depth: int = 50, width: int = 64, strides: Sequence[int] = (2, 2, 2, 2), in_channels: int = 3
    ) -> None:
        super().__init__()
        if depth not in STAGE_BLOCKS:
            raise ConfigError(f"depth must be one of {sorted(STAGE_BLOCKS)}, not {depth}.")
        self.stem: nn.Sequential = Stem(width, in_channels)
        self.channels = [width, 2 * width, 4 * width, 8 * width]
        self.stages = nn.ModuleList()
        in_channels = width
        for channels, blocks, stride in zip(self.channels, STAGE_BLOCKS[depth], strides, strict=True):
            first = Bottleneck(in_channels, channels, stride)
            self.stages.append(nn.Sequential(first, *(Bottleneck(channels, channels) for _ in range(blocks - 1))))
            in_channels = channels

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps images (B, in_channels, H, W) to the output of each stage, the finest first."""
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
