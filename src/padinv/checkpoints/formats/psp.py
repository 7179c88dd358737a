"""pSp, e4e and what is built on them: ``{"state_dict": {"encoder.…", "decoder.…"}, "latent_avg", "opts"}``.

GANInverter has ``{"encoder": {"encoder.…", "latent_avg"}, "decoder": {…}, "opts"}``.

The encoder predicts W+ alone. It is PadInv's encoder without the padding branch, under other names: the bottlenecks of
all stages are numbered in one row, and the pyramid's laterals go from coarse to fine. e4e's encoder adds its first
offset to all others. The decoder is rosinality's generator.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import torch
from torch import Tensor

from padinv.checkpoints.formats import hammer, rosinality
from padinv.checkpoints.formats.state_dicts import MOST_LAYERS, Network, Readers, State, count, rename, shape, tensors
from padinv.checkpoints.formats.wrapping import nearest
from padinv.checkpoints.pickles.machine import Inert
from padinv.exceptions import CheckpointError
from padinv.networks import Generator, PadInvEncoder

FORMAT = "pSp, e4e (.pt)"

ENCODERS = {"GradualStyleEncoder": False, "Encoder4Editing": True}
"""Kinds of encoder, and whether their first offset is added to all others."""

E4E = ("discriminator_state_dict", "w_discriminator_lambda", "progressive_steps")
"""Names that are in e4e's files or their options, and not in pSp's."""

logger = logging.getLogger("padinv")


def find(content: Any) -> Readers:
    """Finds the encoder, and the decoder as the generator."""
    if not isinstance(content, dict):
        return {}
    readers: Readers = {}
    holders = [part for part in (content.get("state_dict"), content.get("encoder"), content) if isinstance(part, dict)]
    decoders = [tensors(part, "decoder.") for part in holders] + [tensors(content.get("decoder"))]
    averages = [average for part in holders if (average := part.get("latent_avg")) is not None]
    latent_avg = averages[0] if averages else nearest(content, "latent_avg")
    for decoder in decoders:
        if decoder and rosinality.is_generator(decoder):
            readers.setdefault(Generator, partial(rosinality.read_generator, decoder, latent_avg))
    for encoder in (*(tensors(part, "encoder.") for part in holders), tensors(content)):
        if encoder and _is_encoder(encoder):
            own = {key: tensor for key, tensor in encoder.items() if key != "latent_avg"}
            options = _options(content)
            readers.setdefault(PadInvEncoder, partial(read_encoder, own, latent_avg, options))
    return readers


def _is_encoder(state: State) -> bool:
    """Tells whether this is an encoder into W+ or W: ArcFace's network has the same backbone, and another end."""
    backbone = "input_layer.0.weight" in state and "body.0.res_layer.1.weight" in state
    return backbone and ("linear.weight" in state or "styles.0.linear.weight" in state)


def _options(content: Any) -> dict[Any, Any]:
    """Collects what tells how the encoder is used: the training options, with ``encoder_type`` if anything tells it."""
    opts = nearest(content, "opts")
    fields = opts.state if isinstance(opts, Inert) and isinstance(opts.state, dict) else {}
    options = {**fields, **opts} if isinstance(opts, dict) else {}
    options["global_step"] = nearest(content, "global_step")
    if "encoder_type" not in options and any(name in options or nearest(content, name) is not None for name in E4E):
        options["encoder_type"] = "Encoder4Editing"
    return options


def read_encoder(
    state: State, latent_avg: Any = None, opts: dict[Any, Any] | None = None, _: int | None = None
) -> Network:
    """Reads the encoder: ``input_layer``, ``body.{i}``, ``styles.{i}``, ``latlayer1`` and ``latlayer2``.

    Args:
        state: without the prefix ``encoder.``.
        latent_avg: the mean latent.
        opts: the training options; ``encoder_type`` tells pSp's encoder from e4e's, which have the same keys. Without
            it, it is taken for pSp's, and a warning is logged.

    Raises:
        CheckpointError: if it is an encoder of another kind.
    """
    opts = opts or {}
    kind = opts.get("encoder_type", "GradualStyleEncoder")
    if not isinstance(kind, str) or kind not in ENCODERS:
        shown = kind[:50] if isinstance(kind, str) else type(kind).__name__
        raise CheckpointError(f"An encoder of the type {shown} is not among {', '.join(ENCODERS)}.")
    if "styles.0.linear.weight" not in state:
        raise CheckpointError(
            "This encoder predicts latents from one last layer, as those into W do; padinv's have heads for each."
        )
    if opts.get("learn_in_w"):
        raise CheckpointError("This encoder was trained with learn_in_w, for one latent; padinv's predict one a layer.")
    inputs = shape(state, "input_layer.0.weight", "encoder")[1]
    if inputs != 3:
        whose = "ReStyle's" if inputs == 6 else "those of sketches and segmentation maps"
        raise CheckpointError(f"This encoder reads {inputs} channels, as {whose} do; padinv's read an image alone.")
    if "encoder_type" not in opts:
        logger.warning(
            "The checkpoint does not say of which type its encoder is (opts.encoder_type): it is taken for pSp's "
            "GradualStyleEncoder. e4e's has the same keys, and adds its first offset to all others."
        )
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
    config, ours = hammer.read_encoder(rename(state, rules, "pSp's encoder"), {})
    config["first_for_all"] = ENCODERS[kind]
    for i in range(_heads_in_use(opts), config["code"]["num_layers"]):
        for name in (f"style_heads.{i}.linear.weight", f"style_heads.{i}.linear.bias"):
            ours[name] = torch.zeros_like(ours[name])
    w_avg: Tensor | None = rosinality.mean_latent(latent_avg)
    if not opts.get("start_from_latent_avg", True):
        w_avg = torch.zeros(config["code"]["w_dim"])
    return config, ours if w_avg is None else {**ours, "w_avg": w_avg}


def _heads_in_use(opts: dict[Any, Any]) -> int:
    """Counts the heads that an e4e encoder had when it was saved: training adds them at ``progressive_steps``."""
    steps, now = opts.get("progressive_steps"), opts.get("global_step")
    if opts.get("encoder_type") != "Encoder4Editing" or not isinstance(steps, list | tuple) or type(now) is not int:
        return MOST_LAYERS
    reached = [i for i, step in enumerate(steps[:MOST_LAYERS]) if type(step) is int and step <= now]
    if not reached or reached[-1] + 1 == len(steps):
        return MOST_LAYERS
    logger.warning(
        "The encoder was saved while %d of its heads were trained: the others are not used.", reached[-1] + 1
    )
    return reached[-1] + 1
