"""Architectures that look like ours and are not: recognised by their keys, to be refused in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from padinv.checkpoints.nvidia_ada import module_state
from padinv.checkpoints.nvidia_tf import variables
from padinv.checkpoints.renaming import MOST_KEYS
from padinv.checkpoints.unpickling import Inert

STYLEGAN3 = r"synthesis\.L\d+_\d+_\d+\.|synthesis\.input\.(freqs|phases|transform)$"

OTHERS = (
    ("StyleGAN-XL", STYLEGAN3, r"mapping\.embed_proj\.|feature_networks?\."),
    ("StyleGAN3", STYLEGAN3),
    ("lucidrains' own architecture", r"(GAN\.)?GE?\.(initial_block|blocks\.\d+\.to_style\d\.)"),
    ("StyleGAN1", r".*/StyleMod/|.*/Noise/weight$|(.*\.)?progression\.\d+\.(adain|noise)\d|.*\.epilogue\."),
    ("a progressive GAN", r"(.*/)?(To|From)RGB_lod\d|(.*\.)?progression\.\d+\.|(.*\.)?scaleLayers\."),
)
"""Architectures in the order in which to look, each with patterns that some of its keys match."""


def recognise(content: Any) -> str | None:
    """The name of another architecture that a file's content is of, if it is one of those known."""
    keys = list(_keys(content))
    for name, *patterns in OTHERS:
        if all(any(re.match(pattern, key) for key in keys) for pattern in patterns):
            return name
    return None


def _keys(content: Any) -> Iterator[str]:
    """Names of tensors: of a state dict, of one in a dict, of pickled modules, of TensorFlow's networks."""
    values = list(content.values()) if isinstance(content, dict) else []
    values += list(content) if isinstance(content, list | tuple) else [content]
    for value in values[:100]:
        if isinstance(value, Inert):
            yield from module_state(value)[0]
            yield from variables(value)
        elif isinstance(value, dict):
            yield from [str(key)[:1000] for key in list(value)[:MOST_KEYS]]
            for inner in list(value.values())[:100]:
                if isinstance(inner, dict) and not isinstance(inner, Inert):
                    yield from [str(key)[:1000] for key in list(inner)[:MOST_KEYS]]
