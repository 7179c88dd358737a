"""The padding branch of the encoder: from one level of the pyramid to the constant and the rings (Bai et al. 2022).

The level goes through two bottlenecks and is resized to a map P large enough for the largest ring. The constant is the
centre 4×4 of P itself. The ring at R px is what a 1×1 convolution makes of the border of the centre (R+2)×(R+2) of P:
a 1×1 convolution commutes with the crop, so only the 4R + 4 positions of the ring are ever computed. Without these
convolutions, the border of P itself is the ring.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from padinv.exceptions import ConfigError
from padinv.networks.backbone import Bottleneck
from padinv.ops.ring import map_to_ring


def center_crop(x: Tensor, size: int) -> Tensor:
    """The middle (B, C, size, size) of a map of even size."""
    margin = (x.shape[-1] - size) // 2
    return x[..., margin : margin + size, margin : margin + size]


class PaddingHead(nn.Module):
    """Predicts a padding code.

    Args:
        in_channels: of the level of the pyramid.
        channels: channels of the generator at each resolution.
        padded_resolutions: where rings are predicted; may be empty.
        replace_const: whether the constant is predicted.
        depth: number of bottlenecks before the heads.
        heads: whether each ring has its 1×1 convolution; without, all are as wide as the level.

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
    ) -> None:
        super().__init__()
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
        self.ring_heads = nn.ModuleDict(
            {str(r): nn.Conv1d(in_channels, channels[r], 1) if heads else nn.Identity() for r in padded_resolutions}
        )

    def outputs(self) -> list[nn.Module]:
        """The last layers, which the constant and the rings come from."""
        return [*([] if self.const_head is None else [self.const_head]), *self.ring_heads.values()]

    def forward(self, level: Tensor) -> tuple[Tensor | None, dict[int, Tensor]]:
        """Maps a level (B, in_channels, H, W) to a constant (B, C_4, 4, 4) or None, and rings {R: (B, C_R, 4R + 4)}."""
        size = (self.size, self.size)
        p = F.interpolate(self.extractor(level), size=size, mode="bicubic", align_corners=True)
        const = None if self.const_head is None else self.const_head(center_crop(p, 4))
        rings = {int(r): head(map_to_ring(center_crop(p, int(r) + 2))) for r, head in self.ring_heads.items()}
        return const, rings
