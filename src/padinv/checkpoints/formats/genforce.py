"""GenForce's StyleGAN2, Hammer's predecessor: ``{name: state_dict}`` by its converter, or in ``models`` by its runner.

Its keys are nearly Hammer's, but its tensors differ: style biases lack the added 1, the kernels of upsampling
convolutions are turned by 180°, and filters include the gain of upsampling. This module translates them, and Hammer's
reader does the rest.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from torch import Tensor

from padinv.checkpoints.formats import hammer
from padinv.checkpoints.formats.state_dicts import Kind, Network, Readers, State, count, tensors
from padinv.networks import Discriminator, Generator

FORMAT = "GenForce (.pth)"

MARKS: dict[Kind, re.Pattern[str]] = {
    Generator: re.compile(r"truncation\.w_avg"),
    Discriminator: re.compile(r"skip_layer\d+\.weight"),
}
"""Keys that Hammer's networks do not have."""


def find(content: Any) -> Readers:
    """Finds the generator, the average weights first, and the discriminator: in ``models``, by their names, or bare."""
    if not isinstance(content, dict):
        return {}
    models = content.get("models")
    models = models if isinstance(models, dict) else content
    readers: Readers = {}
    for kind, mark in MARKS.items():
        names = hammer.READERS[kind][0]
        states = [state for name in names if (state := tensors(models.get(name)))] + [tensors(content) or {}]
        if state := next((state for state in states if any(map(mark.match, state))), None):
            readers[kind] = partial(_read, kind, state)
    return readers


def _read(kind: Kind, state: State, _: int | None) -> Network:
    return hammer.read(kind, _translate(state), {}, {} if kind is Generator else None)


def _translate(state: State) -> State:
    """Gives tensors Hammer's keys and values; the keys of the two networks do not meet."""
    last = 2 * count(state, r"skip_layer(\d+)\.") + 2  # of the discriminator's layers, two a block and two more
    translated: State = {}
    for key, tensor in state.items():
        if key.endswith("kernel"):
            key, tensor = _filter(key, tensor)
        elif key.endswith(".style.bias"):
            tensor = tensor + 1
        elif re.fullmatch(r"synthesis\.layer\d*[13579]\.weight", key) and tensor.ndim == 4:
            tensor = tensor.flip(2, 3)
        key = re.sub(r"^skip_layer", "residual", key.replace("truncation.w_avg", "w_avg"))
        translated[re.sub(rf"^layer{last}\.", "output.", key)] = tensor
    return translated


def _filter(key: str, kernel: Tensor) -> tuple[str, Tensor]:
    """Gives a filter Hammer's form: (4, 4), of sum 1."""
    if kernel.shape[:-2].numel() == 1 and kernel.ndim > 2:
        kernel = kernel.reshape(kernel.shape[-2:])
    return f"{key}.filter", kernel / kernel.sum()
