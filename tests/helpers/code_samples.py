"""Random codes of one shape: six latents of sixteen, a constant and rings at 4 and 8 px, features at 8 and 4 px."""

from __future__ import annotations

import torch

from padinv import InversionCode, PaddingCode


def make_code(batch: int = 3, seed: int = 0, padding: bool = True, features: bool = False) -> InversionCode:
    random = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(batch, *shape, generator=random)

    w_plus = randn(6, 16)
    code = PaddingCode(randn(8, 4, 4), {4: randn(8, 20), 8: randn(4, 36)}) if padding else None
    return InversionCode(w_plus, code, {8: randn(4, 8, 8), 4: randn(8, 4, 4)} if features else None)


def same(a: InversionCode, b: InversionCode) -> bool:
    """Whether two codes have the same parts, equal to the bit."""
    ours, theirs = a.named_tensors(), b.named_tensors()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def assert_close(a: InversionCode, b: InversionCode, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(a.named_tensors(), b.named_tensors(), rtol=tolerance, atol=tolerance)
