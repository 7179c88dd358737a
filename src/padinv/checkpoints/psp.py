"""pSp, e4e and what is built on them: ``{"state_dict": {"encoder.…", "decoder.…"}, "latent_avg", "opts"}``.

The encoder predicts W+ alone. It is PadInv's without the padding branch, under other names: the bottlenecks of all
stages in one row, and the pyramid's laterals from coarse to fine. e4e's adds its first offset to all others. The
decoder is rosinality's generator.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from padinv.checkpoints import hammer, rosinality
from padinv.checkpoints.renaming import Network, Reader, State, count, rename, shape, tensors
from padinv.checkpoints.unpickling import Inert
from padinv.exceptions import CheckpointError

FORMAT = "pSp, e4e (.pt)"

ENCODERS = {"GradualStyleEncoder": False, "Encoder4Editing": True}
"""Kinds of encoder, and whether the first offset is added to all others."""


def find(content: Any) -> dict[str, Reader]:
    """Finds the encoder, and the decoder as the generator."""
    if not isinstance(content, dict):
        return {}
    readers: dict[str, Reader] = {}
    latent_avg = content.get("latent_avg")
    if (decoder := tensors(content.get("state_dict"), "decoder.")) and rosinality.is_generator(decoder):
        readers["Generator"] = partial(rosinality.read_generator, decoder, latent_avg)
    encoder = tensors(content.get("state_dict"), "encoder.")
    if encoder and "input_layer.0.weight" in encoder and "body.0.res_layer.1.weight" in encoder:
        readers["PadInvEncoder"] = partial(read_encoder, encoder, latent_avg, content.get("opts"))
    return readers


def read_encoder(state: State, latent_avg: Any = None, opts: Any = None, _: int | None = None) -> Network:
    """Reads the encoder: ``input_layer``, ``body.{i}``, ``styles.{i}``, ``latlayer1`` and ``latlayer2``.

    Args:
        state: without the prefix ``encoder.``.
        latent_avg: the mean latent.
        opts: the training options; ``encoder_type`` tells pSp's encoder from e4e's, which have the same keys.

    Raises:
        CheckpointError: if it is an encoder of another kind.
    """
    opts = opts.state if isinstance(opts, Inert) else opts
    opts = opts if isinstance(opts, dict) else {}
    kind = opts.get("encoder_type", "GradualStyleEncoder")
    if not isinstance(kind, str) or kind not in ENCODERS:
        shown = kind[:50] if isinstance(kind, str) else type(kind).__name__
        raise CheckpointError(f"An encoder of the type {shown} is not among {', '.join(ENCODERS)}.")
    inputs = shape(state, "input_layer.0.weight", "encoder")[1]
    if inputs != 3:
        raise CheckpointError(f"This encoder reads {inputs} channels, as ReStyle's do; padinv's read an image alone.")
    # A stage begins where the width changes, which takes a convolution as the shortcut.
    rules: list[tuple[str, str | None]] = [
        (r"(input_layer\..*)", r"\1"),
        (r"styles\.(.*)", r"latent_heads.\1"),
        (r"latlayer1\.(.*)", r"fpn.lateral_layers.1.\1"),
        (r"latlayer2\.(.*)", r"fpn.lateral_layers.0.\1"),
    ]
    stage, first = 0, 0
    for i in range(count(state, r"body\.(\d+)\.")):
        if f"body.{i}.shortcut_layer.0.weight" in state:
            stage, first = stage + 1, i
        rules.append((rf"body\.{i}\.(.*)", rf"backbone_stages.{stage}.{i - first}.\1"))
    config, ours = hammer.read_encoder(rename(state, rules, "pSp's encoder"))
    config["first_for_all"] = ENCODERS[kind]
    w_avg: Tensor | None = rosinality.mean_latent(latent_avg)
    if not opts.get("start_from_latent_avg", True):
        w_avg = torch.zeros(config["code"]["w_dim"])
    return config, ours if w_avg is None else {**ours, "w_avg": w_avg}
