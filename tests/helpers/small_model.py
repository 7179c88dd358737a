"""A generator of 8 px and an encoder of one convolution, with features at 8 px: exported in a second."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from padinv import Generator, InversionCode, PaddingCode
from padinv.codes import CodeShape


class SmallEncoder(nn.Module):
    """Images (B, 3, 8, 8) to codes with a constant, rings at 4 and 8 px and features at 8 px, or to latents alone."""

    def __init__(self, shape: CodeShape, padded: bool = True) -> None:
        super().__init__()
        self.resolution = 8
        self.shape = shape
        self.padded = padded
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        sizes = {"w_plus": shape.num_layers * shape.w_dim, "const": shape.channels[4] * 16}
        sizes |= {f"ring_{r}": shape.channels[r] * (4 * r + 4) for r in (4, 8)}
        sizes["features_8"] = shape.channels[8] * 64
        self.heads = nn.ModuleDict({name: nn.Linear(4 * 64, size) for name, size in sizes.items()})

    def forward(self, images: Tensor) -> InversionCode:
        features = self.convolution(images).relu().flatten(1)
        flat = {name: head(features) for name, head in self.heads.items()}
        w_plus = flat["w_plus"].unflatten(1, (self.shape.num_layers, self.shape.w_dim))
        const = flat["const"].unflatten(1, (-1, 4, 4))
        rings = {r: flat[f"ring_{r}"].unflatten(1, (-1, 4 * r + 4)) for r in (4, 8)}
        features = {8: flat["features_8"].unflatten(1, (-1, 8, 8))}
        return InversionCode(w_plus, PaddingCode(const, rings), features) if self.padded else InversionCode(w_plus)


def small_model(padded: bool = True, seed: int = 0) -> tuple[SmallEncoder, Generator]:
    torch.manual_seed(seed)
    generator = Generator(8, z_dim=8, w_dim=8, mapping_layers=1, channels={4: 8, 8: 6})
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.1)
    return SmallEncoder(generator.code_shape, padded).eval(), generator.eval()
