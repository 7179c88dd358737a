"""NVIDIA's stylegan2-ada-pytorch: a pickled dict of ``G_ema``, ``G`` and ``D``, objects of ``torch_utils.persistence``.

The pickle stores such an object as a function call with one dict. The dict holds the source text of the class, which
NVIDIA's unpickler executes and ours never reads, and the module's ``__dict__``. A StyleGAN2 from the StyleGAN3
repository is the same. A file may also be one such object (PTI), or hold state dicts, which lack what only attributes
tell: activations, their bound ``conv_clamp``, the groups of the minibatch statistic.

A conditional network is read as the unconditional network of one class: the embedding of a fixed class is a constant,
which a bias can hold.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor

from padinv.checkpoints.formats.state_dicts import (
    Config,
    Network,
    Readers,
    State,
    add_silent_noise,
    check_filters,
    count,
    discriminator_config,
    generator_config,
    rename,
    tensors,
)
from padinv.checkpoints.formats.wrapping import Facts, module_state
from padinv.checkpoints.pickles.machine import Inert
from padinv.exceptions import CheckpointError
from padinv.networks import Discriminator, Generator
from padinv.ops.equalized import scaled_leaky_relu

FORMAT = "NVIDIA stylegan2-ada-pytorch (.pkl)"

LR_MUL = 0.01  # the learning rate multiplier of our mapping network; weights are scaled to it

LEAKY = re.compile(r"mapping\.fc\d+|(synthesis\.)?b\d+\.(conv[01]?|fromrgb|fc)")
"""Modules with the activation lrelu. All others are linear."""
CLAMPED = re.compile(r"(synthesis\.)?b\d+\.(conv[01]?|fromrgb|torgb)")
"""Modules with a ``conv_clamp``, which is the same in all of them."""

logger = logging.getLogger("padinv")


def find(content: Any) -> Readers:
    """Finds the generator, the average weights first, and the discriminator."""
    readers: Readers = {}
    for state, facts in _networks(content):
        if "synthesis.b4.conv1.affine.weight" in state:
            readers.setdefault(Generator, partial(_read_generator, state, facts))
        elif "b4.fc.weight" in state:
            readers.setdefault(Discriminator, partial(_read_discriminator, state, facts))
    return readers


def classes(content: Any) -> int:
    """Counts the classes that the networks are conditioned on; 0 if they are unconditional."""
    for state, _ in _networks(content):
        if "mapping.embed.weight" in state and state["mapping.embed.weight"].ndim == 2:
            return int(state["mapping.embed.weight"].shape[1])
    return 0


def _networks(content: Any) -> Iterator[tuple[State, Facts]]:
    """Yields the state dict and the facts of each network in a file, the averaged weights first."""
    named = [content.get(name) for name in ("G_ema", "Gs", "G", "D")] if isinstance(content, dict) else []
    for network in (*named, content):
        if isinstance(network, Inert):
            yield module_state(network)
        elif state := tensors(network):
            yield state, getattr(network, "facts", {})


def _check(facts: Facts, architecture: str) -> Config:
    """Reads our options from the attributes; raises CheckpointError if our networks cannot do what these say.

    Args:
        facts: the attributes of the network's modules.
        architecture: the one that padinv's networks have.
    """
    bounds: dict[str, float | None] = {}
    for name, fields in facts.items():
        expected = "lrelu" if LEAKY.fullmatch(name) else "linear"
        if (found := fields.get("activation", expected)) != expected:
            raise CheckpointError(
                f"{name} has the activation {str(found)[:50]}, but padinv's networks have {expected}."
            )
        if (found := fields.get("architecture", architecture)) != architecture:
            raise CheckpointError(
                f"{name} has the architecture {str(found)[:50]}, but padinv's networks have {architecture}."
            )
        if CLAMPED.fullmatch(name) and "conv_clamp" in fields:
            bounds[name] = fields["conv_clamp"]
    if len({*bounds.values()}) > 1:
        raise CheckpointError(
            "Its convolutions have different bounds (conv_clamp); padinv's networks have one for all."
        )
    if not facts:
        logger.warning(
            "A state dict of stylegan2-ada-pytorch does not tell the activations, their bound conv_clamp and the "
            "groups of the minibatch statistic: they are taken to be lrelu, none and 4. The .pkl tells them."
        )
    return {"conv_clamp": next(iter(bounds.values()), None)}


def _scale(state: State, facts: Facts) -> State:
    """Brings dense layers to our learning rate multipliers, which files need not share."""
    scaled = dict(state)
    for key, tensor in state.items():
        layer, _, name = key.rpartition(".")
        multiplier = facts.get(layer, {}).get("bias_gain")
        if multiplier is None or name not in ("weight", "bias"):
            continue
        if type(multiplier) not in (int, float):
            raise CheckpointError(f"{layer} has no proper bias_gain.")
        ours = LR_MUL if re.fullmatch(r"mapping\.fc\d+", layer) else 1
        if multiplier != ours:
            scaled[key] = tensor.float() * (multiplier / ours)
    return scaled


def _embedding(state: State, class_index: int | None, what: str) -> Tensor:
    """Computes the embedding of a class (width,), scaled to a mean square of 1."""
    embed = state["mapping.embed.weight"]
    if embed.ndim != 2 or state["mapping.embed.bias"].shape != embed.shape[:1]:
        raise CheckpointError(f"'mapping.embed.weight' is no dense layer's; this {what} is of another architecture.")
    if class_index is None or not 0 <= class_index < embed.shape[1]:
        raise CheckpointError(
            f"This {what} is conditional: choose a class with class_index (--class-index), "
            f"from 0 to {embed.shape[1] - 1}"
            f"{'' if class_index is None else f', not {class_index}'}."
        )
    y = embed[:, class_index].float() / math.sqrt(embed.shape[1]) + state["mapping.embed.bias"].float()
    return y * (y.square().mean() + 1e-8).rsqrt()


def _fix_class(state: State, class_index: int | None) -> State:
    """Moves a class from the input of the mapping network's first layer into its bias.

    The layer's input is z beside the embedding y. W_y·y is constant; W_z is stored for the fan-in of z and y together.
    """
    y = _embedding(state, class_index, "generator")
    weight, bias = state["mapping.fc0.weight"].float(), state["mapping.fc0.bias"].float()
    z_dim = weight.shape[1] - len(y)
    if z_dim < 1:
        raise CheckpointError("'mapping.fc0.weight' takes no more than the class; this is another architecture.")
    fan_in = math.sqrt(weight.shape[1])
    fixed = {key: tensor for key, tensor in state.items() if not key.startswith("mapping.embed.")}
    fixed["mapping.fc0.weight"] = weight[:, :z_dim] * (math.sqrt(z_dim) / fan_in)
    fixed["mapping.fc0.bias"] = bias + weight[:, z_dim:] @ y / fan_in
    return fixed


def _read_generator(state: State, facts: Facts, class_index: int | None) -> Network:
    """Reads ``mapping.fc{i}``, and ``conv0``, ``conv1``, ``torgb`` of each ``synthesis.b{R}``."""
    options = _check(facts, "skip")
    check_filters(state, "resample_filter")
    _check_colours(state, "torgb", axis=0)
    state = _scale(state, facts)
    for layer in [name for name, fields in facts.items() if fields.get("use_noise") is False]:
        state = {key: tensor for key, tensor in state.items() if not key.startswith(f"{layer}.noise_")}
    if "mapping.embed.weight" in state:
        state = _fix_class(state, class_index)
    mapping_layers = count(state, r"mapping\.fc(\d+)\.")
    rules: list[tuple[str, str | None]] = [(r".*resample_filter", None), (r"mapping\.w_avg", "w_avg")]
    rules += [(rf"mapping\.fc{i}\.(.*)", rf"mapping.{i}.\1") for i in range(mapping_layers)]
    rules.append((r"synthesis\.b4\.const", "synthesis.const"))
    for old, new in (("conv0", "up"), ("conv1", "conv"), ("torgb", "to_rgb")):
        here, there = rf"synthesis\.b(\d+)\.{old}", rf"synthesis.blocks.\1.{new}"
        rules += [
            (rf"{here}\.affine\.(.*)", rf"{there}.style.\2"),
            (rf"{here}\.noise_const", rf"{there}.noise"),
            (rf"{here}\.(weight|bias|noise_strength)", rf"{there}.\2"),
        ]
    ours = rename(state, rules, "StyleGAN2-ADA's generator")
    for key, tensor in ours.items():
        if key.endswith(".noise"):
            ours[key] = tensor[None, None]
        elif key == "synthesis.const":
            ours[key] = tensor[None]
    add_silent_noise(ours)
    return generator_config(ours, **options), ours


def _read_discriminator(state: State, facts: Facts, class_index: int | None) -> Network:
    """Reads ``fromrgb`` of the full resolution, ``conv0``, ``conv1``, ``skip`` of each ``b{R}``, and ``b4``."""
    options = _check(facts, "resnet")
    check_filters(state, "resample_filter")
    _check_colours(state, "fromrgb", axis=1)
    state = _scale(state, facts)
    if "mapping.embed.weight" in state:
        state = _fix_projection(state, class_index)
    resolution = max([int(match[1]) for key in state if (match := re.fullmatch(r"b(\d+)\.conv1\.weight", key))] or [4])
    rules: list[tuple[str, str | None]] = [
        (r".*resample_filter", None),
        (rf"b{resolution}\.fromrgb\.(.*)", r"from_rgb.\1"),
        (r"b4\.conv\.(.*)", r"conv.\1"),
        (r"b4\.fc\.(.*)", r"dense.\1"),
        (r"b4\.out\.(.*)", r"score.\1"),
    ]
    rules += [(rf"b(\d+)\.{old}\.(.*)", rf"blocks.\1.{new}.\2") for old, new in (("conv0", "conv"), ("conv1", "down"))]
    rules.append((r"b(\d+)\.skip\.(.*)", r"blocks.\1.skip.\2"))
    group_size = facts.get("b4.mbstd", {}).get("group_size", 4)  # None is the whole batch
    ours = rename(state, rules, "StyleGAN2-ADA's discriminator")
    return discriminator_config(ours, mbstd_group_size=group_size, **options), ours


def _check_colours(state: State, layer: str, axis: int) -> None:
    """Raises CheckpointError unless images have three channels."""
    for key, tensor in state.items():
        if key.endswith(f".{layer}.weight") and tensor.ndim > axis and tensor.shape[axis] != 3:
            raise CheckpointError(f"Its images have {tensor.shape[axis]} channels; padinv's are RGB.")


def _fix_projection(state: State, class_index: int | None) -> State:
    """Moves a class into the last layer: the score is its output's projection on the mapped class, over √width."""
    y = _embedding(state, class_index, "discriminator")
    for i in range(count(state, r"mapping\.fc(\d+)\.")):
        weight, bias = (state[f"mapping.fc{i}.{name}"].float() * LR_MUL for name in ("weight", "bias"))
        y = scaled_leaky_relu(weight @ y / math.sqrt(weight.shape[1]) + bias)
    y = y / math.sqrt(len(y))
    fixed = {key: tensor for key, tensor in state.items() if not key.startswith("mapping.")}
    fixed["b4.out.weight"] = y[None] @ state["b4.out.weight"].float()
    fixed["b4.out.bias"] = y[None] @ state["b4.out.bias"].float()
    return fixed
