"""NVIDIA's StyleGAN2 and StyleGAN2-ADA for TensorFlow, read without it: a pickled tuple (G, D, Gs) of networks.

A ``dnnlib.tflib.network.Network`` is pickled with its ``static_kwargs``, its ``variables`` [(name, array)] and, if it
is the generator, the ``components`` mapping and synthesis, networks themselves. Layouts differ: convolutions are (k, k,
in, out), dense layers (in, out), and style biases lack the added 1. The kernels of upsampling convolutions are turned
by 180°: TensorFlow's act on the upsampled map, ours belong to the transposed convolution itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from padinv.checkpoints.formats.state_dicts import (
    MOST_KEYS,
    MOST_LAYERS,
    MOST_MATCHES,
    Network,
    Readers,
    State,
    brief,
    count,
    discriminator_config,
    generator_config,
)
from padinv.checkpoints.pickles.calls import Array
from padinv.checkpoints.pickles.machine import Inert
from padinv.exceptions import CheckpointError
from padinv.networks import Discriminator, Generator

FORMAT = "NVIDIA StyleGAN2 for TensorFlow (.pkl)"

LOD = re.compile(r"(.*/)?lod")
"""How far a progressive network has grown: a number that StyleGAN2 keeps and does not use."""
CONVOLUTION = re.compile(r"synthesis/(4|8|16|32|64|128|256|512|1024)x\1/Conv1?/weight")

Arrays = dict[str, np.ndarray[Any, Any]]
Change = Callable[[Any], Any]

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
            if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) and _is_variable(item[1]):
                name = re.sub(r"^(?:.*/)?(?:G_)?(mapping|synthesis)/", r"\1/", f"{prefix}{item[0]}"[:1000])
                # What has no axes is no array in the file, but a number.
                value = item[1].value if isinstance(item[1], Array) else np.array(item[1], np.float32)
                found[name.removeprefix("D/")] = value
        components = _first_time(fields.get("components"), dict, seen)
        pending += [(f"{prefix}{name}/"[:1000], components[name]) for name in list(components)[:MOST_LAYERS]]
    return found if len(found) <= MOST_KEYS else {}


def _is_variable(value: Any) -> bool:
    return isinstance(value, Array) or type(value) in (int, float)


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


def _convolution(x: Any) -> Any:
    return x.transpose(3, 2, 0, 1)


def _upsampling(x: Any) -> Any:
    return x[::-1, ::-1].transpose(3, 2, 0, 1)


def _dense(x: Any) -> Any:
    return x.transpose(1, 0)


def _style_bias(x: Any) -> Any:
    return x + 1


def _same(x: Any) -> Any:
    return x


def _translate(arrays: Arrays, rules: list[tuple[str, str, Change]], what: str) -> State:
    """Renames variables and changes their layout, by the first rule that matches the whole name."""
    state: State = {}
    if len(arrays) * len(rules) > MOST_MATCHES:
        raise CheckpointError(f"{len(arrays)} variables are more than {what} has.")
    compiled = [(re.compile(pattern).fullmatch, new, change) for pattern, new, change in rules]
    for name, array in arrays.items():
        for matching, new, change in compiled:
            if match := matching(name):
                state[match.expand(new)] = torch.from_numpy(
                    np.array(change(array), array.dtype.newbyteorder("="), order="C")
                )
                break
        else:
            raise CheckpointError(f"{brief(name)} is no variable of {what}; is this another architecture?")
    return state


def _layers(old: str, new: str, change: Change) -> list[tuple[str, str, Change]]:
    """The variables of a modulated convolution."""
    return [
        (rf"{old}/weight", f"{new}.weight", change),
        (rf"{old}/bias", f"{new}.bias", _same),
        (rf"{old}/noise_strength", f"{new}.noise_strength", _same),
        (rf"{old}/mod_weight", f"{new}.style.weight", _dense),
        (rf"{old}/mod_bias", f"{new}.style.bias", _style_bias),
    ]


def _read_generator(network: Any, arrays: Arrays, _: int | None) -> Network:
    """Reads ``Conv0_up``, ``Conv1`` (``Conv`` at 4 px), ``ToRGB`` of each ``synthesis/RxR``; ``synthesis/noise{i}``."""
    options = _check_options(network, "skip")
    if any(re.search("Label", name) for name in arrays):
        raise CheckpointError(
            "It is a conditional network of TensorFlow, which padinv does not read; convert it with NVIDIA's."
        )
    arrays = _without_noise({name: array for name, array in arrays.items() if not LOD.fullmatch(name)})
    r = r"synthesis/(\d+)x\1"
    rules: list[tuple[str, str, Change]] = [
        ("dlatent_avg", "w_avg", _same),
        (r"mapping/Dense(\d+)/weight", r"mapping.\1.weight", _dense),
        (r"mapping/Dense(\d+)/bias", r"mapping.\1.bias", _same),
        ("synthesis/4x4/Const/const", "synthesis.const", _same),
        *_layers(f"{r}/Conv0_up", r"synthesis.blocks.\1.up", _upsampling),
        *_layers(f"{r}/Conv1?", r"synthesis.blocks.\1.conv", _convolution),
        *_layers(f"{r}/ToRGB", r"synthesis.blocks.\1.to_rgb", _convolution),
        ("synthesis/noise0", "synthesis.blocks.4.conv.noise", _same),
    ]
    blocks = count(arrays, r"synthesis/noise(\d+)$") // 2
    for k in range(1, blocks + 1):
        block = f"synthesis.blocks.{4 * 2**k}"
        rules += [
            (f"synthesis/noise{2 * k - 1}", f"{block}.up.noise", _same),
            (f"synthesis/noise{2 * k}", f"{block}.conv.noise", _same),
        ]
    state = _translate(arrays, rules, "StyleGAN2's generator")
    return generator_config(state, conv_clamp=options.get("conv_clamp")), state


def _without_noise(arrays: Arrays) -> Arrays:
    """Gives a generator without noise (``use_noise``) images of zeros, added with the strength zero."""
    sizes = sorted({int(match[1]) for name in arrays if (match := CONVOLUTION.fullmatch(name))})
    if any(re.search(r"/noise(\d+|_strength)$", name) for name in arrays):
        return arrays
    silent = dict(arrays)
    layers = [(r, layer) for r in sizes for layer in (("Conv",) if r == 4 else ("Conv0_up", "Conv1"))]
    for number, (r, layer) in enumerate(layers):
        silent[f"synthesis/noise{number}"] = np.zeros((1, 1, r, r), np.float32)
        silent[f"synthesis/{r}x{r}/{layer}/noise_strength"] = np.zeros((), np.float32)
    return silent


def _read_discriminator(network: Any, arrays: Arrays, _: int | None) -> Network:
    """Reads ``FromRGB`` of the full resolution, ``Conv0``, ``Conv1_down``, ``Skip`` of each ``RxR``, and the end."""
    options = _check_options(network, "resnet")
    r = r"(\d+)x\1"
    rules: list[tuple[str, str, Change]] = []
    for old, new, change in (
        (f"{r}/FromRGB", "from_rgb", _convolution),
        (f"{r}/Conv0", r"blocks.\1.conv", _convolution),
        (f"{r}/Conv1_down", r"blocks.\1.down", _convolution),
        (f"{r}/Skip", r"blocks.\1.skip", _convolution),
        ("4x4/Conv", "conv", _convolution),
        ("4x4/Dense0", "dense", _dense),
        ("Output", "score", _dense),
    ):
        rules += [(f"{old}/weight", f"{new}.weight", change), (f"{old}/bias", f"{new}.bias", _same)]
    from_rgb = [name for name in arrays if name.endswith("/FromRGB/weight")]
    if len(from_rgb) != 1:
        raise CheckpointError(
            f"It has {len(from_rgb)} inputs where the residual architecture has one; padinv has no other."
        )
    state = _translate(
        {name: array for name, array in arrays.items() if not LOD.fullmatch(name)}, rules, "StyleGAN2's discriminator"
    )
    group_size = options.get("mbstd_group_size", 4)  # None is the whole batch
    return discriminator_config(state, mbstd_group_size=group_size, conv_clamp=options.get("conv_clamp")), state
