"""Codes that other tools have saved: latents alone, in W or W+, as tensors, arrays, or dictionaries of them.

Among these are e4e's ``latents.pt`` (N, L, 512), NVIDIA's ``projected_w.npz`` (1, L, 512), PTI's one tensor a file,
rosinality's projection {photograph: {"latent": …}} and ReStyle's ``latents.npy`` {photograph: one for each step}.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from padinv.checkpoints.pickles.arrays import read_arrays
from padinv.codes import InversionCode
from padinv.exceptions import CheckpointError
from padinv.networks import Generator
from padinv.typing import PathLike

KEYS = ("w_plus", "w", "latents", "latent", "latent_codes", "projected_w", "code")
"""Keys of latents in dictionaries; without one of these, each entry is that of a photograph."""


def read_latents(path: PathLike, generator: Generator) -> tuple[InversionCode, tuple[str, ...]]:
    """Reads latents as codes without padding, on the generator's device.

    Args:
        path: the file.
        generator: the one that they are for; such files do not say it. Its shapes tell what an array is: (L, w_dim),
            (1, L, w_dim) or (B, L, w_dim) in W+; (w_dim,), (1, w_dim), (B, w_dim) or (B, 1, w_dim) in W, the same
            for all layers.

    Returns:
        The code of B images, and their names, by the file or by the keys of its dictionary.

    Raises:
        CheckpointError: if the file cannot be read, or holds latents of another shape, numbers that are not finite, or
            none at all.
    """
    path = Path(path)
    names: list[str] = []
    parts: list[Tensor] = []
    for name, latents in _find(read_arrays(path), path.stem):
        part = _in_w_plus(latents, generator)
        if part is None:
            raise CheckpointError(
                f"{path} holds latents of shape {tuple(latents.shape)}, but this generator takes (B, "
                f"{generator.num_layers}, {generator.code_shape.w_dim}), or (B, {generator.code_shape.w_dim}) in W."
            )
        names += [name] if len(part) == 1 else [f"{name}-{i}" for i in range(len(part))]
        parts.append(part)
    if not parts:
        raise CheckpointError(f"{path} holds no latents: give a tensor, an array, or a dictionary of them.")
    w_plus = torch.cat(parts)
    if not w_plus.isfinite().all():
        raise CheckpointError(f"{path} holds latents with NaN or infinite numbers.")
    return InversionCode(w_plus.to(generator.w_avg.device)), tuple(names)


def _find(content: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        if content.is_floating_point() and content.numel():
            yield name, content
    elif isinstance(content, dict):
        known = next((content[key] for key in KEYS if key in content), None)
        if known is not None:
            yield from _find(known, name)
            return
        for key, value in content.items():
            # the last of a list of steps is the result
            yield from _find(value[-1] if isinstance(value, list) and value else value, Path(str(key)).stem)
    elif isinstance(content, list):
        for i, value in enumerate(content):
            yield from _find(value, f"{name}-{i}")


def _in_w_plus(latents: Tensor, generator: Generator) -> Tensor | None:
    """Converts latents to (B, L, w_dim) in float32; None if the shape fits nothing."""
    num_layers, w_dim = generator.num_layers, generator.code_shape.w_dim
    latents = latents.float()
    while latents.ndim > 3 and len(latents) == 1:
        latents = latents[0]
    if latents.ndim == 1:
        latents = latents[None]
    if latents.ndim == 2:
        latents = latents[None] if len(latents) == num_layers else latents[:, None]
    if latents.ndim != 3 or latents.shape[1] not in (1, num_layers) or latents.shape[2] != w_dim:
        return None
    return latents.expand(-1, num_layers, -1).contiguous()
