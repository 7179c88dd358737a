"""The options in ``model_kwargs_init`` of a runner's checkpoint, which no shape of a weight tells.

A runner saves beside ``models`` the arguments with which each was built and is called. Some of them change what a
network computes. This module applies those, by scaling weights or as our options, or refuses them in one sentence. A
file without such arguments is read with the published defaults, and a warning names these.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from typing import Any

from padinv.checkpoints.formats.state_dicts import Kind, State
from padinv.checkpoints.pickles.machine import Inert, Symbol
from padinv.exceptions import CheckpointError
from padinv.networks import Discriminator, Generator, PadInvEncoder

Options = dict[str, Any]

logger = logging.getLogger("padinv")

FILTER = ([1, 3, 3, 1], (1, 3, 3, 1))  # StyleGAN2's, as a list or a tuple, however it was saved

FIXED: dict[Kind, dict[str, tuple[Any, ...]]] = {
    Generator: {
        "architecture": ("skip",),
        "const_input": (True,),
        "demodulate": (True,),
        "eps": (1e-8,),
        "filter_kernel": FILTER,
        "final_tanh": (False,),
        "image_channels": (3,),
        "init_res": (4,),
        "label_dim": (0, None),
        "noise_type": ("spatial", "none"),
        "normalize_z": (True,),
        "repeat_w": (True,),
    },
    Discriminator: {
        "architecture": ("resnet",),
        "eps": (1e-8,),
        "filter_kernel": FILTER,
        "image_channels": (3,),
        "init_res": (4,),
        "label_dim": (0, None),
        "mbstd_channels": (1,),
    },
    PadInvEncoder: {
        "image_channels": (3,),
        "norm_layer": ("nn.BatchNorm2d", "BatchNorm2d", "SyncBatchNorm", None),
        "only_pad_even": (True,),
    },
}
"""Options that padinv's networks do not have, and the values that describe these networks."""

KNOWN = re.compile(
    r"conv_clamp|(mapping_)?(lr_mul|use_wscale|wscale_gain)|mbstd_groups|"  # the readers look at these
    r"depth_padding_extractor|encode_const_input|num_latents_per_level|pad_layer_num|start_from_latent_avg|"
    r"use_padding_modulation_head|use_padding_space|"
    r"model_type|resolution|[zw]_dim|fmaps_(base|max)|mapping_(layers|fmaps)|latent_dim|final_res|network_depth|inplanes|"
    r"use_se|se_reduction|fpn_channels|"  # shapes tell these
    r"(normalize_)?embedding\w*"  # these are of conditional networks, which are refused
)
"""Further options, which need no warning."""


def find_options(content: dict[Any, Any], group: str, names: Sequence[str]) -> Options | None:
    """Finds the arguments of a network.

    Args:
        content: what the file holds.
        group: "model_kwargs_init" are the arguments that built it, "model_kwargs_val" those that it is called with.
        names: the names of the network. The first one that the file says anything of counts.

    Returns:
        None if the file says nothing of it.
    """
    said = _fields(content.get(group))
    for name in names:
        if (options := _fields(said.get(name))) or isinstance(said.get(name), dict):
            return {key: value for key, value in options.items() if isinstance(key, str)}
    return None


def _fields(value: Any) -> dict[Any, Any]:
    fields = value.fields if isinstance(value, Inert) else value
    return fields if isinstance(fields, dict) else {}


def check_options(options: Options, kind: Kind) -> None:
    """Raises CheckpointError if a network was built with an option that changes what it computes, and ours lack."""
    for name, accepted in FIXED[kind].items():
        value = options.get(name, accepted[0])
        if isinstance(value, Symbol):  # a class by its name
            value = value.name.rpartition(".")[2]
        if isinstance(value, str) and name != "norm_layer":
            value = value.lower()
        if not any(type(value) in (type(one), int, float) and value == one for one in accepted):
            raise CheckpointError(
                f"its {kind.__name__} was built with {name}={_shown(value)}, but padinv has {accepted[0]!r} alone"
            )
    if unknown := [name for name in options if name not in FIXED[kind] and not KNOWN.fullmatch(name)]:
        logger.warning(
            "The checkpoint's %s was built with options that padinv does not know: %s. They are left out of account.",
            kind.__name__,
            ", ".join(f"{name[:50]}={_shown(options[name])}" for name in unknown[:5]),
        )


def _shown(value: Any) -> str:
    return repr(value)[:50] if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"


def flag(options: Options, name: str, default: bool = True) -> bool:
    """Reads an option that is yes or no; raises CheckpointError if it is neither."""
    value = options.get(name, default)
    if type(value) is not bool and value not in (0, 1):
        raise CheckpointError(f"its option {name} is {_shown(value)} where it must be true or false")
    return bool(value)


def number(options: Options, name: str, default: int, least: int, most: int) -> int:
    """Reads an option that is a whole number; raises CheckpointError if it is none, or out of its range."""
    value = options.get(name, default)
    if type(value) is not int or not least <= value <= most:
        raise CheckpointError(f"its option {name} is {_shown(value)} where it must be a number from {least} to {most}")
    return value


def _factor(options: Options, name: str) -> float:
    value = options.get(name, 1.0)
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise CheckpointError(f"its option {name} is {_shown(value)} where it must be a positive number")
    return float(value)


def scale_generator(state: State, options: Options) -> State:
    """Brings a generator's weights to the scale at which ours are used.

    A weight is used times gain · lr_mul / √fan_in, without ``use_wscale`` times lr_mul, and a bias times lr_mul. A
    convolution's weight is not: demodulation cancels its scale.
    """
    options = {"mapping_lr_mul": 0.01, **options}
    state = scale(state, r"mapping\.dense\d+\.(weight|bias)", options, "mapping_", ours=0.01)
    return scale(state, r"synthesis\.(layer\d+\.(style\..*|bias)|output\d+\.(style\..*|weight|bias))", options)


def scale(state: State, pattern: str, options: Options, prefix: str = "", ours: float = 1.0) -> State:
    """Brings weights whose keys match to the scale of ours, which have the learning rate multiplier ``ours``."""
    use_wscale = flag(options, f"{prefix}use_wscale")
    gain, lr_mul = (_factor(options, f"{prefix}{name}") for name in ("wscale_gain", "lr_mul"))
    if use_wscale and gain == 1 and lr_mul == ours:
        return state
    scaled, matching = dict(state), re.compile(pattern)
    for key, tensor in state.items():
        if matching.fullmatch(key):
            fan_in = math.prod(tensor.shape[1:])
            scaled[key] = tensor * (lr_mul / ours)
            if key.endswith("weight"):
                scaled[key] = scaled[key] * (gain if use_wscale else math.sqrt(fan_in))
    return scaled
