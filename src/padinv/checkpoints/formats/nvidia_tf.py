"""NVIDIA's StyleGAN2 and StyleGAN2-ADA for TensorFlow, read without it: a pickled tuple (G, D, Gs) of networks.

A ``dnnlib.tflib.network.Network`` is pickled with its ``static_kwargs``, its ``variables`` [(name, array)] and, if it
is the generator, the ``components`` mapping and synthesis, networks themselves. Layouts differ: convolutions are (k, k,
in, out), dense layers (in, out), and style biases lack the added 1. The kernels of upsampling convolutions are turned
by 180°: TensorFlow's act on the upsampled map, ours belong to the transposed convolution itself.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
import torch

from padinv.checkpoints.formats.state_dicts import (
    MOST_KEYS,
    MOST_LAYERS,
    Network,
    Readers,
    Rules,
    State,
    add_silent_noise,
    count,
    discriminator_config,
    generator_config,
    rename,
)
from padinv.checkpoints.pickles.calls import Array
from padinv.checkpoints.pickles.machine import Inert
from padinv.exceptions import CheckpointError
from padinv.networks import Discriminator, Generator

FORMAT = "NVIDIA StyleGAN2 for TensorFlow (.pkl)"

LOD = r"(.*/)?lod"
"""How far a progressive network has grown: a number that StyleGAN2 keeps and does not use."""

Arrays = dict[str, np.ndarray[Any, Any]]

FIXED = {
    "num_channels": (3,),
    "label_size": (0, None),
    "resample_kernel": ([1, 3, 3, 1], (1, 3, 3, 1)),
    "normalize_latents": (True,),
    "mapping_lrmul": (0.01,),
    "nonlinearity": ("lrelu",),
    "mapping_nonlinearity": ("lrelu",),
    "mbstd_num_features": (1,),
}
"""Options of the networks that ours do not have, with the values they stand for."""


def find(content: Any) -> Readers:
    """Finds the generator, the average weights first, and the discriminator."""
    networks = content if isinstance(content, list | tuple) and len(content) <= 3 else [content]
    readers: Readers = {}
    for network in reversed(networks):
        names = variables(network)
        if "synthesis/4x4/Conv/mod_weight" in names:
            readers.setdefault(Generator, partial(_read_generator, network, names))
        elif "4x4/Dense0/weight" in names and "Output/weight" in names:
            readers.setdefault(Discriminator, partial(_read_discriminator, network, names))
    return readers


def variables(network: Any, seen: set[int] | None = None) -> Arrays:
    """Collects the variables of a pickled network and its components: ``mapping/…``, ``synthesis/…``, ``dlatent_avg``.

    It leaves out objects that it has seen before: a list that components share belongs to the first of them.
    """
    seen = set() if seen is None else seen
    found: Arrays = {}
    pending = [("", network)]
    for _ in range(MOST_LAYERS):  # components may contain each other
        if not pending:
            break
        prefix, network = pending.pop()
        fields = network.state if isinstance(network, Inert) and isinstance(network.state, dict) else {}
        for item in _first_time(fields.get("variables"), list, seen):
            if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
                if not isinstance(item[1], Array) and type(item[1]) not in (int, float):
                    continue
                name = re.sub(r"^(?:.*/)?(?:G_)?(mapping|synthesis)/", r"\1/", f"{prefix}{item[0]}"[:1000])
                # What has no axes is no array in the file, but a number.
                value = item[1].value if isinstance(item[1], Array) else np.array(item[1], np.float32)
                found[name.removeprefix("D/")] = value
        components = _first_time(fields.get("components"), dict, seen)
        pending += [(f"{prefix}{name}/"[:1000], components[name]) for name in list(components)[:MOST_LAYERS]]
    return found if len(found) <= MOST_KEYS else {}


def _first_time(values: Any, kind: type[Any], seen: set[int]) -> Any:
    """Returns the values if they are of that kind and not seen before, otherwise an empty one."""
    if not isinstance(values, kind) or id(values) in seen:
        return kind()
    seen.add(id(values))
    return values


def _check_options(network: Any, architecture: str) -> dict[Any, Any]:
    """Collects the static_kwargs, the network's own before those of its components.

    Raises:
        CheckpointError: if they ask for what our networks cannot do.
    """
    components = network.state.get("components")
    options: dict[Any, Any] = {}
    for part in (network, *(list(components.values())[:MOST_LAYERS] if isinstance(components, dict) else ())):
        fields = part.state if isinstance(part, Inert) and isinstance(part.state, dict) else {}
        own = fields.get("static_kwargs")
        options = {**own, **options} if isinstance(own, dict) else options
        if len(options) > MOST_KEYS:
            break
    for name, accepted in {**FIXED, "architecture": (architecture,)}.items():
        value = options.get(name, accepted[0])
        value = value.value.tolist() if isinstance(value, Array) else value
        if value not in accepted:
            raise CheckpointError(
                f"It was made with another {name} than padinv's networks have, which is {accepted[0]}."
            )
    return options


def _to_ours(arrays: Arrays, rules: Rules, what: str) -> State:
    """Renames variables, and changes their layout as the module says."""
    state: State = {}
    for key, array in rename(arrays, rules, what, "no variable").items():
        if key.endswith("weight"):
            array = array[::-1, ::-1] if key.endswith(".up.weight") else array
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        elif key.endswith("style.bias"):
            array = array + 1
        state[key] = torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))
    return state


def _read_generator(network: Any, arrays: Arrays, _: int | None) -> Network:
    """Reads ``Conv0_up``, ``Conv1`` (``Conv`` at 4 px), ``ToRGB`` of each ``synthesis/RxR``; ``synthesis/noise{i}``."""
    options = _check_options(network, "skip")
    if any(re.search("Label", name) for name in arrays):
        raise CheckpointError(
            "It is a conditional network of TensorFlow, which padinv does not read; convert it with NVIDIA's."
        )
    rules: list[tuple[str, str | None]] = [
        ("dlatent_avg", "w_avg"),
        (r"mapping/Dense(\d+)/(weight|bias)", r"mapping.\1.\2"),
        ("synthesis/4x4/Const/const", "synthesis.const"),
        ("synthesis/noise0", "synthesis.blocks.4.conv.noise"),
        (LOD, None),
    ]
    for old, new in (("Conv0_up", "up"), ("Conv1?", "conv"), ("ToRGB", "to_rgb")):
        here, there = rf"synthesis/(\d+)x\1/{old}", rf"synthesis.blocks.\1.{new}"
        rules += [
            (rf"{here}/(weight|bias|noise_strength)", rf"{there}.\2"),
            (rf"{here}/mod_(weight|bias)", rf"{there}.style.\2"),
        ]
    for k in range(1, count(arrays, r"synthesis/noise(\d+)$") // 2 + 1):
        block = f"synthesis.blocks.{4 * 2**k}"
        rules += [
            (f"synthesis/noise{2 * k - 1}", f"{block}.up.noise"),
            (f"synthesis/noise{2 * k}", f"{block}.conv.noise"),
        ]
    state = _to_ours(arrays, rules, "StyleGAN2's generator")
    if not any(re.search(r"\.noise(_strength)?$", key) for key in state):
        add_silent_noise(state)
    return generator_config(state, conv_clamp=options.get("conv_clamp")), state


def _read_discriminator(network: Any, arrays: Arrays, _: int | None) -> Network:
    """Reads ``FromRGB`` of the full resolution, ``Conv0``, ``Conv1_down``, ``Skip`` of each ``RxR``, and the end."""
    options = _check_options(network, "resnet")
    r = r"(\d+)x\1"
    layers = {
        f"{r}/FromRGB": "from_rgb",
        f"{r}/Conv0": r"blocks.\1.conv",
        f"{r}/Conv1_down": r"blocks.\1.down",
        f"{r}/Skip": r"blocks.\1.skip",
        "4x4/Conv": "conv",
        "4x4/Dense0": "dense",
        "Output": "score",
    }
    rules: list[tuple[str, str | None]] = [(LOD, None)]
    for part in ("weight", "bias"):
        rules += [(f"{old}/{part}", f"{new}.{part}") for old, new in layers.items()]
    from_rgb = [name for name in arrays if name.endswith("/FromRGB/weight")]
    if len(from_rgb) != 1:
        raise CheckpointError(
            f"It has {len(from_rgb)} inputs where the residual architecture has one; padinv has no other."
        )
    state = _to_ours(arrays, rules, "StyleGAN2's discriminator")
    group_size = options.get("mbstd_group_size", 4)  # None is the whole batch
    return discriminator_config(state, mbstd_group_size=group_size, conv_clamp=options.get("conv_clamp")), state
