"""Runs an encoder several times: each pass sees photograph and reconstruction so far, and predicts a step (ReStyle).

With x the photograph, y_t the reconstruction after pass t, and c_t its code, c_{t+1} = c_t + E(x, y_t) (Alaluf et al.
2021, section 3). The first pass sees the generator's mean image and starts at the mean latent, as an encoder of one
pass does. Each pass runs the encoder, and each but the last the generator.

An encoder's attribute ``passes`` says how many passes it was made for. Without it, or with 1, the encoder is called
with images alone. If its attribute ``feature_fusion`` is true, it gets the synthesis network, too, and looks at
features in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from padinv.codes import InversionCode
from padinv.networks.synthesis import SynthesisNetwork

Reconstruct: TypeAlias = Callable[[InversionCode], Tensor]
"""Makes images (B, 3, R, R) of codes, at the size R that the encoder reads."""


def count_passes(encoder: nn.Module) -> int:
    """How many passes an encoder was made for. It looks inside wrappers, such as a moving average.

    >>> count_passes(nn.Identity())
    1
    """
    return int(getattr(_unwrapped(encoder), "passes", 1))


def has_fusion(encoder: nn.Module) -> bool:
    """Whether an encoder looks at the generator's features (``feature_fusion``); wrappers are looked into."""
    return bool(getattr(_unwrapped(encoder), "feature_fusion", False))


def _unwrapped(encoder: nn.Module) -> Any:
    inner: Any = encoder
    while not hasattr(inner, "passes") and isinstance(getattr(inner, "module", None), nn.Module):
        inner = inner.module
    return inner


def encode(
    encoder: nn.Module, images: Tensor, reconstruct: Reconstruct, synthesis: SynthesisNetwork | None = None
) -> InversionCode:
    """Encodes images by all passes of an encoder.

    Args:
        encoder: an encoder of any number of passes.
        images: (B, 3, R, R) in [-1, 1].
        reconstruct: makes images of codes; called only between passes.
        synthesis: the generator's synthesis network, for an encoder with ``feature_fusion``.

    Returns:
        The code after the last pass.
    """
    passes = count_passes(encoder)
    arguments = () if passes == 1 else (mean_image(encoder, images, reconstruct),)
    looks = {"synthesis": synthesis} if has_fusion(encoder) else {}
    code: InversionCode = encoder(images, *arguments, **looks)
    for _ in range(passes - 1):
        code = encoder(images, reconstruct(code), code, **looks)
    return code


def take_passes(
    encoder: nn.Module, images: Tensor, reconstruct: Reconstruct, synthesis: SynthesisNetwork | None = None
) -> Iterator[tuple[InversionCode, Tensor]]:
    """The code after each pass, and its reconstruction, for training.

    As in ReStyle, gradients do not flow from one pass into the one before.

    Args:
        encoder: an encoder of any number of passes.
        images: (B, 3, R, R) in [-1, 1].
        reconstruct: makes images of codes.
        synthesis: the generator's synthesis network, for an encoder with ``feature_fusion``.

    Yields:
        Code and reconstruction (B, 3, R, R), as many pairs as there are passes.
    """
    passes = count_passes(encoder)
    arguments: tuple[Any, ...] = () if passes == 1 else (mean_image(encoder, images, reconstruct),)
    looks: dict[str, Any] = {"synthesis": synthesis} if has_fusion(encoder) else {}
    for _ in range(passes):
        code: InversionCode = encoder(images, *arguments, **looks)
        reconstruction = reconstruct(code)
        yield code, reconstruction
        arguments = (reconstruction.detach(), code.detach())


def mean_image(encoder: nn.Module, images: Tensor, reconstruct: Reconstruct) -> Tensor:
    """What the generator makes of the mean latent, once for each image: (B, 3, R, R)."""
    inner = _unwrapped(encoder)
    w_plus = inner.w_avg.expand(1, inner.code_shape.num_layers, -1)
    return reconstruct(InversionCode(w_plus)).detach().to(images.dtype).expand(len(images), -1, -1, -1)


def pooled(images: Tensor, resolution: int) -> Tensor:
    """Reduces images (B, 3, H, H) that are larger than R px to (B, 3, R, R), in float32."""
    images = images.float()
    return averaged(images, (resolution, resolution)) if images.shape[-1] > resolution else images


def averaged(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Reduces images (B, C, H, W) to (B, C, *size) by means.

    Of powers of two, as all of a generator's are, the gradient is then deterministic on GPUs, too, where that of
    ``adaptive_avg_pool2d`` never is.

    >>> averaged(Tensor([[[[0, 1], [2, 3]]]]), (1, 1)).item()
    1.5
    """
    (height, rest), (width, other) = (
        divmod(length, wanted) for length, wanted in zip(images.shape[2:], size, strict=True)
    )
    if rest or other:
        return F.adaptive_avg_pool2d(images, size)
    return F.avg_pool2d(images, (height, width))
