"""The rule that fills the published implementation's parameters, and reads its outputs (tests/data/conformance)."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).parents[1] / "data" / "conformance"
SPEC: dict[str, Any] = json.loads((DATA / "spec.json").read_text())

FORWARD = 1e-4
"""Agreement with published outputs, relative to a tensor's largest absolute value; float32 sums differ in order."""
GRADIENT = 2e-3
"""The same for gradients."""


def _normal(seed: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(zlib.crc32(seed.encode()))).standard_normal(shape)


def _value(network: str, key: str, shape: tuple[int, ...]) -> np.ndarray:
    last = key.rsplit(".", 1)[-1]
    if key.endswith("filter"):
        return np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    if last == "num_batches_tracked":
        return np.array(0)
    a = _normal(f"{network}/{key}", shape)
    if last == "running_var":
        return 1 + 0.2 * np.abs(a)
    if last in ("running_mean", "noise_strength"):
        return 0.1 * a
    if key.endswith("style.bias"):
        return 1 + 0.1 * a
    if last in ("bias", "w_avg"):
        return 0.1 * a
    if last == "weight" and len(shape) == 1:
        return 0.6 + 0.1 * a
    if network == "encoder" and last == "weight" and not key.endswith("linear.weight"):
        return a * np.sqrt(2 / np.prod(shape[1:]))
    if key.startswith("mapping.") and last == "weight":
        return a / 0.01
    return a


def published_state(network: str, keys: dict[str, tuple[int, ...]] | None = None) -> dict[str, Tensor]:
    """A state dict with the published keys, filled by the rule."""
    keys = keys or {key: tuple(shape) for key, shape in SPEC["keys"][network].items()}
    state = {}
    for key, shape in keys.items():
        value = torch.from_numpy(np.asarray(_value(network, key, shape)))
        state[key] = value.long() if key.endswith("num_batches_tracked") else value.float()
    return state


def make_input(name: str, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    """The input of this name."""
    return torch.from_numpy(_normal(f"input/{name}", shape) * scale).float()


def published_output(network: str) -> dict[str, Tensor]:
    """What the published implementation computed."""
    with np.load(DATA / f"{network}.npz") as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}


def assert_agrees(ours: Tensor, published: Tensor, tolerance: float = FORWARD) -> None:
    """Largest difference relative to the published tensor's largest absolute value."""
    assert ours.shape == published.shape
    error = (ours.detach().cpu() - published).abs().max() / published.abs().max()
    assert error < tolerance, f"relative error {error:.2e}"
