"""An encoder and a loss of one's own, as examples/custom.yaml names them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from padinv.codes import CodeShape, InversionCode, PaddingCode
from padinv.losses import ReconstructionLoss
from padinv.ops import ring_positions


class PlainEncoder(nn.Module):
    """A few strided convolutions, then a linear layer for the latents, one for the constant, and one for each ring.

    An encoder is called with the generator's ``code_shape``, has a ``resolution``, and returns an InversionCode. A
    buffer ``w_avg``, if there is one, is filled with the generator's mean latent.
    """

    w_avg: Tensor

    def __init__(
        self, code: CodeShape, resolution: int = 64, width: int = 16, padded_resolutions: tuple[int, ...] = (4, 8)
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.code = code
        stages: list[nn.Module] = []
        channels = 3
        for _ in range(resolution.bit_length() - 3):  # down to 4 px
            stages += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.PReLU(width)]
            channels, width = width, 2 * width
        self.features = nn.Sequential(*stages, nn.Flatten(), nn.Linear(channels * 16, 64), nn.PReLU(64))
        self.latents = nn.Linear(64, code.num_layers * code.w_dim)
        self.const = nn.Linear(64, code.channels[4] * 16)
        self.rings = nn.ModuleDict(
            {str(r): nn.Linear(64, code.channels[r] * ring_positions(r)) for r in padded_resolutions}
        )
        self.register_buffer("w_avg", torch.zeros(code.w_dim))

    def forward(self, images: Tensor) -> InversionCode:
        x = self.features(images)
        w_plus = self.w_avg + self.latents(x).unflatten(1, (self.code.num_layers, self.code.w_dim))
        const = self.const(x).unflatten(1, (self.code.channels[4], 4, 4))
        rings = {int(r): head(x).unflatten(1, (self.code.channels[int(r)], -1)) for r, head in self.rings.items()}
        return InversionCode(w_plus, PaddingCode(const, rings))


class CharbonnierLoss(ReconstructionLoss):
    """mean √((x - x')² + ε²): like the mean absolute difference, but smooth at 0."""

    def __init__(self, epsilon: float = 1e-3) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        return ((reconstruction - target.detach()).square() + self.epsilon**2).sqrt().mean()
