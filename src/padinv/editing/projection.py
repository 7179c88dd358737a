"""What of a step is left when others are taken out: the residual of least squares, orthogonal to all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from padinv.codes import PaddingCode


def residual(vector: Tensor, others: Sequence[Tensor]) -> Tensor:
    """The vector minus Σ cᵢ · otherᵢ, with the c that make it shortest: for one of length 1 it is n₁ - (n₁ · n₂) n₂.

    Args:
        vector: of any shape.
        others: of the same shape; zero or dependent ones do no harm.

    Returns:
        The rest, of the same shape.

    >>> residual(torch.tensor([1.0, 2.0]), [torch.tensor([0.0, 3.0])])
    tensor([1., 0.])
    """
    return vector - sum(c * other for c, other in zip(_coefficients(vector, others), others, strict=True))


def padding_residual(padding: PaddingCode, others: Sequence[PaddingCode]) -> PaddingCode:
    """The same for the padding of one image, all its parts together as one vector.

    Raises:
        ConfigError: if they do not have the same parts.
    """
    coefficients = _coefficients(_flat(padding), [_flat(other) for other in others])
    return padding.map(
        lambda own, *parts: own - sum(c * part for c, part in zip(coefficients, parts, strict=True)), *others
    )


def _coefficients(vector: Tensor, others: Sequence[Tensor]) -> list[float]:
    if not others:
        return []
    basis = torch.stack([other.detach().cpu().double().flatten() for other in others], dim=1)
    # gelsd is the driver that takes dependent columns.
    solution = torch.linalg.lstsq(basis, vector.detach().cpu().double().reshape(-1, 1), driver="gelsd").solution
    return [float(c) for c in solution[:, 0]]


def _flat(padding: PaddingCode) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in padding.tensors()])
