"""rosinality's stylegan2-pytorch, whose generator is also the decoder of pSp, e4e, ReStyle, HyperStyle and SFE.

``{"g_ema" | "g": state_dict, "d": state_dict, "latent_avg": tensor}``, or a bare state dict. Weights have a first
axis of 1, filters are stored with the gain of upsampling, and the noise images are numbered by layer. The trainer's
own files hold no ``latent_avg``, the published one no noise images.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from padinv.checkpoints.formats.state_dicts import (
    Network,
    Readers,
    State,
    check_filters,
    count,
    discriminator_config,
    generator_config,
    rename,
    tensors,
)
from padinv.checkpoints.formats.wrapping import AVERAGED, nearest
from padinv.checkpoints.pickles.calls import Array
from padinv.exceptions import CheckpointError
from padinv.networks import Discriminator, Generator

FORMAT = "rosinality stylegan2-pytorch (.pt)"


def find(content: Any) -> Readers:
    """Finds the generator, the average weights first, and the discriminator."""
    if not isinstance(content, dict):
        return {}
    readers: Readers = {}
    bare = tensors(content) or {}
    averages = [part for name, part in content.items() if isinstance(part, dict) and AVERAGED.search(str(name))]
    for state in (*map(tensors, averages), tensors(content.get("g")), bare):
        if state and is_generator(state):
            average = nearest(content, "latent_avg")
            state = {key: tensor for key, tensor in state.items() if key != "latent_avg"}
            readers.setdefault(Generator, partial(read_generator, state, average))
    for state in (tensors(content.get("d")), bare):
        if state and "final_conv.0.weight" in state and "final_linear.0.weight" in state:
            readers.setdefault(Discriminator, partial(read_discriminator, state))
    return readers


def is_generator(state: State) -> bool:
    """Tells whether this is a generator's state dict."""
    return "conv1.conv.modulation.weight" in state


def mean_latent(latent_avg: Any) -> Tensor | None:
    """Makes (w_dim,) of ``latent_avg``, a tensor, array or list, which pSp has once a layer; None stays None.

    Raises:
        CheckpointError: if it is of another kind, or not the same for all layers.
    """
    if latent_avg is None:
        return None
    if isinstance(latent_avg, Array):
        latent_avg = torch.from_numpy(latent_avg.value.astype(np.float32))
    elif isinstance(latent_avg, list | tuple):
        try:
            latent_avg = torch.tensor(latent_avg, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError("latent_avg is a list of something else than numbers.") from error
    if not isinstance(latent_avg, Tensor):
        raise CheckpointError(f"latent_avg is no tensor, array or list, but a {type(latent_avg).__name__}.")
    average: Tensor = latent_avg
    if average.ndim == 3 and len(average) == 1:
        average = average[0]
    if average.ndim == 2 and bool((average == average[:1]).all()):
        return average[0]
    if average.ndim != 1:
        raise CheckpointError(f"latent_avg has shape {tuple(average.shape)}: it is no single mean latent.")
    return average


def read_generator(state: State, latent_avg: Any = None, _: int | None = None) -> Network:
    """Reads the generator: ``style.{i}``, ``conv1``, ``convs.{i}``, ``to_rgb1``, ``to_rgbs.{k}``, ``noises.noise_{i}``.

    ``convs.{2k-2}`` upsamples to R = 4·2^k px, ``convs.{2k-1}`` follows, then ``to_rgbs.{k-1}``.
    """
    check_filters(state, ".kernel", gain=4)
    blocks = count(state, r"to_rgbs\.(\d+)\.")
    mapping_layers = count(dict.fromkeys(state) | {"style.0.": None}, r"style\.(\d+)\.") - 1
    layers = {"conv1": ("blocks.4.conv", 0), "to_rgb1": ("blocks.4.to_rgb", None)}
    for k in range(blocks):
        block = f"blocks.{8 * 2**k}"
        layers |= {
            f"convs.{2 * k}": (f"{block}.up", 2 * k + 1),
            f"convs.{2 * k + 1}": (f"{block}.conv", 2 * k + 2),
            f"to_rgbs.{k}": (f"{block}.to_rgb", None),
        }
    rules: list[tuple[str, str | None]] = [
        *((rf"style\.{i + 1}\.(.*)", rf"mapping.{i}.\1") for i in range(mapping_layers)),
        (r"input\.input", "synthesis.const"),
        (r".*\.kernel", None),
    ]
    for old, (new, noise) in layers.items():
        rules += [
            (rf"{re.escape(old)}\.conv\.weight", f"synthesis.{new}.weight"),
            (rf"{re.escape(old)}\.conv\.modulation\.(.*)", rf"synthesis.{new}.style.\1"),
            (rf"{re.escape(old)}\.(activate\.)?bias", f"synthesis.{new}.bias"),
            (rf"{re.escape(old)}\.noise\.weight", f"synthesis.{new}.noise_strength"),
        ]
        if noise is not None:
            rules.append((rf"noises\.noise_{noise}", f"synthesis.{new}.noise"))
    ours = rename(state, rules, "rosinality's generator")
    for key, tensor in ours.items():
        if key.endswith(("conv.weight", "up.weight", "to_rgb.weight")):
            ours[key] = tensor.squeeze(0)
        elif key.endswith(("noise_strength", "bias")):
            ours[key] = tensor.squeeze()
    config, w_avg = generator_config(ours), mean_latent(latent_avg)
    return config, ours if w_avg is None else {**ours, "w_avg": w_avg}


def read_discriminator(state: State, _: int | None = None) -> Network:
    """Reads the discriminator: ``convs.0`` is fromRGB, ``convs.{k}`` a residual block, the finest first."""
    check_filters(state, ".kernel")
    blocks = count(state, r"convs\.(\d+)\.") - 1
    resolution = 4 * 2**blocks
    rules: list[tuple[str, str | None]] = [
        (r".*\.kernel", None),
        (r"convs\.0\.0\.weight", "from_rgb.weight"),
        (r"convs\.0\.1\.bias", "from_rgb.bias"),
        (r"final_conv\.0\.weight", "conv.weight"),
        (r"final_conv\.1\.bias", "conv.bias"),
        (r"final_linear\.0\.(.*)", r"dense.\1"),
        (r"final_linear\.1\.(.*)", r"score.\1"),
    ]
    for k in range(1, blocks + 1):
        block = f"blocks.{resolution // 2 ** (k - 1)}"
        rules += [
            (rf"convs\.{k}\.conv1\.0\.weight", f"{block}.conv.weight"),
            (rf"convs\.{k}\.conv1\.1\.bias", f"{block}.conv.bias"),
            (rf"convs\.{k}\.conv2\.1\.weight", f"{block}.down.weight"),
            (rf"convs\.{k}\.conv2\.2\.bias", f"{block}.down.bias"),
            (rf"convs\.{k}\.skip\.1\.weight", f"{block}.skip.weight"),
        ]
    ours = rename(state, rules, "rosinality's discriminator")
    return discriminator_config(ours), ours
