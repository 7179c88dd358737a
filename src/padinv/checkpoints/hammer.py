"""The published implementation's state dicts (PadInv, Hammer, GenForce): their keys, and their sizes from the shapes.

Each function takes a state dict with the published keys and returns the constructor arguments of our network together
with a state dict of ours. Keys that are left over, missing or of an unexpected shape are found when that is loaded.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import torch

from padinv.checkpoints.renaming import Network, Reader, State, count, rename, shape, tensors
from padinv.exceptions import CheckpointError
from padinv.networks.backbone import STAGE_BLOCKS

FORMAT = "PadInv, Hammer, GenForce (.pth)"

GENERATOR_KEYS = re.compile(r"synthesis\.early_layer\.const|synthesis\.layer0\.style\.weight")
ENCODER_KEYS = re.compile(r"backbone_stages\.0\.0\.|latent_heads\.0\.linear\.weight")
DISCRIMINATOR_KEYS = re.compile(r"input\d+\.weight|residual0\.weight")


def read_generator(state: State) -> Network:
    """Reads the published generator: ``mapping.dense{i}``, ``synthesis.layer{i}``, ``synthesis.output{k}``.

    Layer 2k - 1 upsamples to R = 4·2^k px and layer 2k follows at R; output k is toRGB at R.
    """
    mapping_layers = count(state, r"mapping\.dense(\d+)\.")
    blocks = count(state, r"synthesis\.output(\d+)\.")
    channels = {4 * 2**k: shape(state, f"synthesis.layer{2 * k}.weight", "generator")[0] for k in range(max(blocks, 1))}
    width, z_dim = shape(state, "mapping.dense0.weight", "generator")
    config = {
        "resolution": max(channels),
        "z_dim": z_dim,
        "w_dim": shape(state, f"mapping.dense{mapping_layers - 1}.weight", "generator")[0],
        "mapping_layers": mapping_layers,
        "mapping_width": width,
        "channels": channels,
    }
    rules: list[tuple[str, str | None]] = [
        (r"(w_avg)", r"\1"),
        (r"mapping\.dense(\d+)\.(.*)", r"mapping.\1.\2"),
        (r"synthesis\.early_layer\.const", "synthesis.const"),
        (r".*filter", None),
    ]
    for k in range(blocks):
        block = f"synthesis.blocks.{4 * 2**k}"
        rules += [
            (rf"synthesis\.layer{2 * k}\.(.*)", rf"{block}.conv.\1"),
            (rf"synthesis\.output{k}\.(.*)", rf"{block}.to_rgb.\1"),
        ]
        if k > 0:
            rules.append((rf"synthesis\.layer{2 * k - 1}\.(.*)", rf"{block}.up.\1"))
    return config, rename(state, rules, "the published generator")


def read_discriminator(state: State) -> Network:
    """Reads the published discriminator: ``input{i}``, ``residual{k}``, ``layer{i}``, ``output``.

    ``input{i}`` is fromRGB at 1/2^i of the full resolution; only that of the full resolution belongs to the residual
    architecture. Block k has layers 2k and 2k + 1; three layers follow the last block.
    """
    blocks = count(state, r"residual(\d+)\.")
    resolution = 4 * 2**blocks
    channels = {
        resolution // 2 ** (k + 1): shape(state, f"residual{k}.weight", "discriminator")[0] for k in range(blocks)
    }
    channels[resolution] = shape(state, "input0.weight", "discriminator")[0]
    rules: list[tuple[str, str | None]] = [
        (r".*filter", None),
        (r"input0\.(.*)", r"from_rgb.\1"),
        (rf"layer{2 * blocks}\.(.*)", r"conv.\1"),
        (rf"layer{2 * blocks + 1}\.(.*)", r"dense.\1"),
        (r"output\.(.*)", r"score.\1"),
    ]
    for k in range(blocks):
        block = f"blocks.{resolution // 2**k}"
        rules += [
            (rf"layer{2 * k}\.(.*)", rf"{block}.conv.\1"),
            (rf"layer{2 * k + 1}\.(.*)", rf"{block}.down.\1"),
            (rf"residual{k}\.(.*)", rf"{block}.skip.\1"),
        ]
    return {"resolution": resolution, "channels": channels}, rename(state, rules, "the published discriminator")


def read_encoder(state: State) -> Network:
    """Reads the published encoder, with or without its padding branch.

    The depth follows from the number of bottlenecks, the input's size from the convolutions that fold the top level of
    the pyramid into a latent. Only the average latent is not in the file.
    """
    blocks = tuple(count(state, rf"backbone_stages\.{stage}\.(\d+)\.") for stage in range(4))
    depth = next((depth for depth, counts in STAGE_BLOCKS.items() if counts == blocks), None)
    if depth is None:
        raise CheckpointError(f"A backbone with {blocks} bottlenecks is not among the depths {sorted(STAGE_BLOCKS)}.")
    heads = count(state, r"latent_heads\.(\d+)\.")
    convs = [
        len({key for key in state if re.fullmatch(rf"latent_heads\.{i}\.convs\.\d+\.weight", key)})
        for i in range(heads)
    ]
    fpn_channels = shape(state, "fpn.lateral_layers.0.weight", "encoder")[0]
    rings = count(state, r"padding_modulation_heads\.(\d+)\.")
    padding = any(key.startswith("padding_extractor.") for key in state)
    channels = {4 * 2**k: shape(state, f"padding_modulation_heads.{k}.weight", "encoder")[0] for k in range(rings)}
    if padding:
        channels.setdefault(4, fpn_channels)
    config = {
        "code": {
            "num_layers": heads,
            "w_dim": shape(state, "latent_heads.0.linear.weight", "encoder")[0],
            "channels": channels,
        },
        "resolution": 2 ** convs[0] * 16,
        "depth": depth,
        "width": shape(state, "input_layer.0.weight", "encoder")[0],
        "fpn_channels": fpn_channels,
        "padded_resolutions": sorted(channels) if rings else [],
        "replace_const": padding,
        "latents_per_level": [convs.count(convs[0] + level) for level in range(3)],
    }
    bottleneck: list[tuple[str, str]] = [
        (r"res_layer\.0\.(.*)", "norm1"),
        (r"res_layer\.1\.(.*)", "conv1"),
        (r"res_layer\.2\.(.*)", "prelu"),
        (r"res_layer\.3\.(.*)", "conv2"),
        (r"res_layer\.4\.(.*)", "norm2"),
        (r"res_layer\.5\.fc1\.(.*)", "se.squeeze"),
        (r"res_layer\.5\.fc2\.(.*)", "se.excite"),
        (r"shortcut_layer\.(.*)", "shortcut"),
    ]
    rules: list[tuple[str, str | None]] = [
        (r"input_layer\.(.*)", r"backbone.stem.\1"),
        (r"latent_heads\.(.*)", r"style_heads.\1"),
    ]
    for old, new in bottleneck:
        rules += [
            (rf"backbone_stages\.(\d\.\d+)\.{old}", rf"backbone.stages.\1.{new}.\2"),
            (rf"padding_extractor\.(\d+)\.{old}", rf"padding_head.extractor.\1.{new}.\2"),
        ]
    rules += [
        (rf"padding_modulation_heads\.{k}\.(.*)", rf"padding_head.ring_heads.{4 * 2**k}.\1") for k in range(rings)
    ]
    # Their laterals go from fine to coarse, ours from coarse to fine, the top first.
    laterals = count(state, r"fpn\.lateral_layers\.(\d+)\.")
    rules += [(rf"fpn\.lateral_layers\.{i}\.(.*)", rf"fpn.lateral.{laterals - i}.\1") for i in range(laterals)]
    ours = rename(state, rules, "the published encoder")
    for key in ours:
        if re.fullmatch(r"padding_head\.ring_heads\.\d+\.weight", key):
            ours[key] = ours[key].squeeze(-1)
    if padding:  # the published constant is no offset
        ours["const_avg"] = torch.zeros(channels[4], 4, 4)
    return config, ours


KINDS = {
    "Generator": (("generator_smooth", "generator"), GENERATOR_KEYS, read_generator),
    "Discriminator": (("discriminator",), DISCRIMINATOR_KEYS, read_discriminator),
    "PadInvEncoder": (("encoder",), ENCODER_KEYS, read_encoder),
}
"""For each network: its names in a published checkpoint, a pattern of its keys, its reader."""


def find(content: Any) -> dict[str, Reader]:
    """Finds the networks of ``{"models": {name: state_dict}}``, the average weights first, or of a bare state dict."""
    if not isinstance(content, dict):
        return {}
    models = content.get("models")
    models = models if isinstance(models, dict) else {}
    readers: dict[str, Reader] = {}
    for network, (names, keys, _) in KINDS.items():
        bare = tensors(content) or {}
        states = [models[name] for name in names if models.get(name)] + [bare] * any(map(keys.match, bare))
        if states and tensors(states[0]):
            readers[network] = partial(_read, network, states[0], models)
    return readers


def _read(network: str, state: State, models: dict[str, Any], _: int | None) -> Network:
    config, ours = KINDS[network][2](dict(state))
    if network == "PadInvEncoder":
        owner = next((name for name in ("generator", "generator_smooth") if "w_avg" in models.get(name, {})), None)
        if owner is not None:
            ours["w_avg"] = models[owner]["w_avg"]
    return config, ours
