"""Architectures that look like ours and are not: recognised by their keys, to be refused in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from padinv.checkpoints.formats.nvidia_ada import module_state
from padinv.checkpoints.formats.nvidia_tf import variables
from padinv.checkpoints.formats.state_dicts import MOST_KEYS
from padinv.checkpoints.pickles.machine import Inert

STYLEGAN3 = r"synthesis\.L\d+_\d+_\d+\.|synthesis\.input\.(freqs|phases|transform)$"

OTHERS = (
    ("StyleGAN-XL", STYLEGAN3, r"mapping\.embed_proj\.|feature_networks?\."),
    ("StyleGAN3", STYLEGAN3),
    ("StyleGAN3 of Hammer", r"synthesis\.early_layer\.(frequency|phase|transform|affine)"),
    ("EG3D", r"backbone\.synthesis\.", r"(superresolution|decoder\.net|backbone\.mapping)\."),
    ("GANformer", r"(.*[./])?(G_)?synthesis[./]", r".*(AttLayer|\.att_weight|\.to_queries|\.transformer\.)"),
    ("FastGAN", r"(.*\.)?(init\.init|feat_8)\.", r"(.*\.)?(to_big|se_64)\."),
    ("a diffusion model", r"(model\.diffusion_model|first_stage_model)\.|.*\.attn\d?\.to_q\."),
    ("an ArcFace backbone", r"body\.\d+\.res_layer\.", r"output_layer\.\d\."),
    ("lucidrains' own architecture", r"(GAN\.)?GE?\.(initial_block|blocks\.\d+\.to_style\d\.)"),
    ("StyleGAN1", r".*/StyleMod/|.*/Noise/weight$|(.*\.)?progression\.\d+\.(adain|noise)\d|.*\.epilogue\."),
    ("a progressive GAN", r"(.*/)?(To|From)RGB_lod\d|(.*\.)?progression\.\d+\.|(.*\.)?scaleLayers\."),
    ("a progressive GAN", r"layer0\.(conv\.)?weight", r"output\d+\.(conv\.)?weight"),
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
    """Names of tensors: of a state dict, of one in a dict, of pickled modules, of TensorFlow's networks.

    Everything is visited once, however often it is referred to: a few bytes in a file can refer to all of it.
    """
    seen: set[int] = set()
    pending = [(content, 0)]
    while pending:
        value, depth = pending.pop()
        if id(value) in seen:
            continue
        if isinstance(value, Inert):
            yield from module_state(value, seen)[0]
            yield from variables(value, seen)
        elif isinstance(value, dict):
            seen.add(id(value))
            yield from [str(key)[:1000] for key in list(value)[:MOST_KEYS]]
            pending += [(inner, depth + 1) for inner in list(value.values())[:100] if depth < 2]
        elif isinstance(value, list | tuple) and depth == 0:
            pending += [(inner, 1) for inner in value[:100]]
