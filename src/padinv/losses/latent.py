"""Keeps the predicted latents near the average one."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LatentRegularization(nn.Module):
    """Frobenius distance of the latents to the average latent, batch mean: E‖w⁺ - w̄‖_F.

    At w⁺ = w̄, where an encoder of offsets may well start, the gradient is 0 (the subgradient that PyTorch takes).
    """

    def forward(self, w_plus: Tensor, w_avg: Tensor) -> Tensor:
        """Measures latents (B, L, D) against (D,): a scalar.

        >>> LatentRegularization()(torch.full((2, 4, 9), 3.0), torch.full((9,), 2.0)).item()  # sqrt(4 · 9)
        6.0
        """
        norms: Tensor = torch.linalg.vector_norm(w_plus - w_avg, dim=(1, 2))
        return norms.mean()
