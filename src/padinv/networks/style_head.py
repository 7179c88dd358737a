"""One head for each style latent: it folds a level of the pyramid into a vector (pSp, section 3)."""

from __future__ import annotations

from torch import Tensor, nn

from padinv.ops.equalized import EqualizedLinear


class StyleHead(nn.Module):
    """Convolutions of stride 2 down to one pixel, then a dense layer with an equalized learning rate.

    Args:
        in_channels: of the level.
        channels: of the convolutions.
        size: height and width of the level, a power of two.
        w_dim: width of the latent.
    """

    def __init__(self, in_channels: int, channels: int, size: int, w_dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        while size > 1:
            conv = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1)
            # PyTorch's default would shrink the signal at each of up to eight convolutions, and the gradient with it.
            nn.init.kaiming_normal_(conv.weight, a=0.01)
            layers += [conv, nn.LeakyReLU(0.01, inplace=True)]
            in_channels, size = channels, size // 2
        self.convs = nn.Sequential(*layers)
        self.linear = EqualizedLinear(in_channels, w_dim)

    def forward(self, level: Tensor) -> Tensor:
        """Maps (B, in_channels, size, size) to an offset from the mean latent, (B, w_dim)."""
        offset: Tensor = self.linear(self.convs(level).flatten(1))
        return offset
