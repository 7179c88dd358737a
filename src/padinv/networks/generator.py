"""StyleGAN2's generator (Karras et al. 2019) with padding space (PadInv, Bai et al. 2022).

z → mapping → w → w_plus (one latent for each layer) → synthesis(w_plus, padding, features) → image.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from padinv.batches import check_numbers
from padinv.codes import CodeShape
from padinv.exceptions import ConfigError
from padinv.networks.arguments import check_channels, check_clamp, check_widths, given_arguments
from padinv.networks.synthesis import SynthesisNetwork
from padinv.ops.equalized import EqualizedLinear, scaled_leaky_relu
from padinv.typing import Noise


class MappingNetwork(nn.Sequential):
    """z to w: dense layers with learning rate multiplier 0.01, after z is scaled to a mean square of 1.

    Args:
        z_dim: width of z.
        w_dim: width of w.
        num_layers: number of dense layers.
        width: width between the layers; w_dim if not given.
    """

    def __init__(self, z_dim: int = 512, w_dim: int = 512, num_layers: int = 8, width: int | None = None) -> None:
        width = width or w_dim
        widths = [z_dim, *[width] * (num_layers - 1), w_dim]
        super().__init__(*(EqualizedLinear(i, o, lr_mul=0.01) for i, o in pairwise(widths)))  # 0.01 as published
        self.z_dim = z_dim

    def forward(self, z: Tensor) -> Tensor:
        """Maps z (B, z_dim), standard normal, to w (B, w_dim); ConfigError if it is of another shape or kind."""
        check_numbers(z, "The latents z", next(self.parameters()))
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise ConfigError(f"This generator takes latents z (B, {self.z_dim}), not {tuple(z.shape)}.")
        x = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for dense in self:
            x = scaled_leaky_relu(dense(x))
        return x


class Generator(nn.Module):
    """StyleGAN2's generator with an optional padding code and optional features.

    Layer ``blocks.R.conv`` takes latent 2·log2(R) - 4 and ``blocks.R.up`` the one before; ``blocks.R.to_rgb`` shares
    its latent with the next block's ``up``.

    Args:
        resolution: height and width of the images in pixels, a power of two from 8 to 1024.
        z_dim: width of z.
        w_dim: width of w.
        mapping_layers: number of dense layers of the mapping network.
        mapping_width: width between these layers; w_dim if not given.
        channels: channels at each resolution from 4 px up; :func:`stylegan2_channels` if not given.
        conv_clamp: bound on the absolute value of what each convolution and toRGB gives, 256 in NVIDIA's networks with
            float16 layers; none if not given.

    Raises:
        ConfigError: if the resolution, the channels or the bound do not make a generator.

    >>> generator = Generator(8, z_dim=16, w_dim=16, mapping_layers=2, channels={4: 8, 8: 4})
    >>> generator(torch.randn(2, 16)).shape, generator.num_layers
    (torch.Size([2, 3, 8, 8]), 4)
    """

    w_avg: Tensor

    def __init__(
        self,
        resolution: int = 256,
        *,
        z_dim: int = 512,
        w_dim: int = 512,
        mapping_layers: int = 8,
        mapping_width: int | None = None,
        channels: dict[int, int] | None = None,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        check_widths(z_dim=z_dim, w_dim=w_dim, mapping_layers=mapping_layers, mapping_width=mapping_width)
        channels, conv_clamp = check_channels(resolution, channels), check_clamp(conv_clamp)
        self.mapping = MappingNetwork(z_dim, w_dim, mapping_layers, mapping_width)
        self.synthesis = SynthesisNetwork(resolution, w_dim, channels, conv_clamp)
        self.register_buffer("w_avg", torch.zeros(w_dim))
        self.config = given_arguments(Generator, locals())

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Generator:
        """Builds a generator, with weights not yet loaded, from what :attr:`config` says of another."""
        return cls(**config)

    @property
    def resolution(self) -> int:
        """Height and width of the images in pixels."""
        return self.synthesis.resolution

    @property
    def num_layers(self) -> int:
        """Number L of style latents."""
        return self.synthesis.num_layers

    @property
    def code_shape(self) -> CodeShape:
        """What an encoder must predict for this generator."""
        return CodeShape(self.num_layers, self.synthesis.w_dim, dict(self.synthesis.channels))

    def truncate(
        self, w: Tensor, psi: float = 0.7, truncation_cutoff: int | None = None, *, layers: int | None = None
    ) -> Tensor:
        """Pulls latents towards the mean: w_avg + psi · (w - w_avg).

        Args:
            w: (B, 512), or (B, L, 512).
            psi: 1 leaves them as they are, 0 is the mean.
            truncation_cutoff: how many of the first latents of (B, L, 512) to pull; all if not given.
            layers: the earlier name of ``truncation_cutoff``.

        Returns:
            Latents of the same shape.

        Raises:
            ConfigError: if ``psi`` is no finite number.
        """
        if not isinstance(psi, Tensor) and not (isinstance(psi, int | float) and math.isfinite(psi)):
            raise ConfigError(f"truncation_psi must be a finite number, not {psi!r}.")
        cutoff = layers if truncation_cutoff is None else truncation_cutoff
        truncated = torch.lerp(self.w_avg.to(w.dtype).expand_as(w), w, psi)
        if cutoff is None or w.ndim == 2:
            return truncated
        return torch.cat([truncated[:, :cutoff], w[:, cutoff:]], dim=1)

    def broadcast(self, w: Tensor) -> Tensor:
        """Repeats one latent (B, 512) for every layer, (B, L, 512)."""
        return w.unsqueeze(1).expand(-1, self.num_layers, -1)

    def forward(self, z: Tensor, truncation_psi: float = 1.0, noise: Noise = "const") -> Tensor:
        """Samples images (B, 3, H, W) from z (B, z_dim), standard normal."""
        w_plus = self.broadcast(self.truncate(self.mapping(z), truncation_psi))
        image: Tensor = self.synthesis(w_plus, noise=noise)
        return image
