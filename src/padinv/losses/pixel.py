"""Losses without a network: of pixels, of latents far from the average one, and of large features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from padinv.losses.base import ReconstructionLoss


class PixelLoss(ReconstructionLoss):
    """Mean square of the difference, as in the published code, or its unsquared norm, as in the paper.

    Squared, it is the mean over all values, (1 / BCHW)·Σ(x - x')²; unsquared, the batch mean of ‖x - x'‖₂, which grows
    with the number of pixels: λ_pix has to be chosen for it.

    Args:
        squared: False for the norm.

    >>> a, b = torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    >>> PixelLoss()(a, b).item(), round(PixelLoss(squared=False)(a, b).item() ** 2)
    (1.0, 48)
    """

    def __init__(self, squared: bool = True) -> None:
        super().__init__()
        self.squared = squared

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Compares (B, 3, H, W) with (B, 3, H, W), both in [-1, 1]: a scalar."""
        if self.squared:
            return F.mse_loss(reconstruction, target.detach())
        return self.each(reconstruction, target).mean()

    def each(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Measures every image separately: (B,)."""
        difference = reconstruction - target.detach()
        if self.squared:
            return difference.square().mean(dim=(1, 2, 3))
        norms: Tensor = torch.linalg.vector_norm(difference, dim=(1, 2, 3))
        return norms


class LatentRegularization(nn.Module):
    """Frobenius distance of the latents to the average latent, batch mean: E‖w⁺ - w̄‖_F.

    At w⁺ = w̄, where an encoder of offsets may start, the gradient is 0 (the subgradient that PyTorch takes).
    """

    def forward(self, w_plus: Tensor, w_avg: Tensor) -> Tensor:
        """Measures latents (B, L, D) against (D,): a scalar.

        >>> LatentRegularization()(torch.full((2, 4, 9), 3.0), torch.full((9,), 2.0)).item()  # sqrt(4 · 9)
        6.0
        """
        norms: Tensor = torch.linalg.vector_norm(w_plus - w_avg, dim=(1, 2))
        return norms.mean()


class FeatureRegularization(nn.Module):
    """Mean square of the features that are added in the synthesis, summed over resolutions: Σ_R (1 / BC_RR²)·Σ f².

    Features then leave to latents and padding what these can say, and edits can move those.
    """

    def forward(self, features: Mapping[int, Tensor]) -> Tensor:
        """Measures {R: (B, C_R, R, R)}, one resolution or more: a scalar.

        >>> FeatureRegularization()({4: torch.full((1, 2, 4, 4), 3.0), 8: torch.ones(1, 2, 8, 8)}).item()
        10.0
        """
        return torch.stack([residual.float().square().mean() for residual in features.values()]).sum()
