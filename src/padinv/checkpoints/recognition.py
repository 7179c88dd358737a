"""Tells from its content alone what a file is: networks of a known format, another architecture, or neither."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from padinv.checkpoints.formats import genforce, hammer, nvidia_ada, nvidia_tf, psp, rosinality
from padinv.checkpoints.formats.nvidia_tf import variables
from padinv.checkpoints.formats.state_dicts import MOST_KEYS, Kind, Readers
from padinv.checkpoints.formats.wrapping import View, module_state, views
from padinv.checkpoints.native import find_in_run, trained_for
from padinv.checkpoints.pickles.machine import Inert, Symbol
from padinv.exceptions import CheckpointError

FORMATS: tuple[tuple[str, Callable[[Any], Readers]], ...] = (
    ("padinv training run (.ckpt)", find_in_run),
    *((module.FORMAT, module.find) for module in (psp, rosinality, nvidia_ada, nvidia_tf, genforce, hammer)),
)
"""Formats of networks in a pickle, and what finds them. A format with more around its weights comes first."""

STYLEGAN3 = r"synthesis\.L\d+_\d+_\d+\.|synthesis\.input\.(freqs|phases|transform)$"

REFUSED = (
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
"""Architectures that padinv does not have, in the order of the search; each pattern matches some of their keys."""


def find(content: Any) -> tuple[str, Readers, int, str | None] | None:
    """Finds the networks of one format: those of the content itself first, others in its parts.

    Returns:
        The format in words, the readers of its networks, how many classes they are conditioned on (0 if none), and the
        fingerprint of the encoder's generator, if the file says it. None if there are no networks.
    """
    parts = views(content)
    for search in ([content], parts):
        for name, find_networks in FORMATS:
            if any(find_networks(part) for part in search):
                readers = find_networks(content)
                _find_inside(parts, find_networks, readers)
                classes = max(nvidia_ada.classes(part) for part in (content, *parts))
                return name, readers, classes, trained_for(content)
    return None


def _find_inside(parts: list[View], find_networks: Callable[[Any], Readers], readers: Readers) -> None:
    """Adds networks that only parts of a content hold.

    Raises:
        CheckpointError: if several could be the same network, and nothing tells which is meant.
    """
    owners: dict[Kind, View] = {}
    outside = set(readers)
    for part in parts:
        for kind, reader in find_networks(part).items():
            if kind in outside:
                continue
            owner = owners.setdefault(kind, part)
            if owner is part:
                readers[kind] = reader
            elif owner.rank == part.rank and not owner.holds_same(part):
                raise CheckpointError(
                    f"it holds several networks that may be its {kind.__name__} ({owner.name} and {part.name}): "
                    "keep one of them in a file"
                )


def refused(content: Any) -> str | None:
    """Names the architecture of a content if padinv knows it and does not have it."""
    keys = list(_keys(content))
    for name, *patterns in REFUSED:
        if all(any(re.match(pattern, key) for key in keys) for pattern in patterns):
            return name
    return None


def _keys(content: Any) -> Iterator[str]:
    """Yields names of tensors: of state dicts, pickled modules, TensorFlow's networks.

    It visits each object once, however often the file refers to it: a few bytes can refer to a whole file.
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


def describe(content: Any) -> str:
    """Describes an unknown content: its first keys, and a class, if the networks may be in objects of it."""
    if isinstance(content, Symbol):
        return f"{content}, of which nothing was run"
    values = list(content.values()) if isinstance(content, dict) else [content]
    models = content.get("models") if isinstance(content, dict) else None
    values += list(models.values()) if isinstance(models, dict) else []
    objects = [value for value in [content, *values[:MOST_KEYS]] if isinstance(value, Inert)]
    parts = []
    if isinstance(content, dict) and content:
        names = (
            f"{str(key)[:100]}{' (empty)' if value is None and isinstance(key, str) else ''}"
            for key, value in content.items()
        )
        shown = sorted(names)
        parts.append(f"the entries {', '.join(map(repr, shown[:5]))}{' and others' if len(shown) > 5 else ''}")
    if objects:
        parts.append(
            f"{objects[0]}, which padinv neither imports nor runs: save the state_dict() of its networks instead"
        )
    elif weights := [
        (key, weight)
        for state in [content, *values]
        if isinstance(state, dict)
        for key, weight in list(state.items())[:MOST_KEYS]
        if isinstance(key, str) and "." in key and isinstance(weight, Inert)
    ]:
        parts.append(f"{weights[0][0][:100]!r} is {weights[0][1]} in place of a tensor")
    if isinstance(content, Tensor):
        return f"a single tensor of shape {tuple(content.shape)}"
    return ", and ".join(parts) or ("nothing at all" if not content else f"a {type(content).__name__}")
