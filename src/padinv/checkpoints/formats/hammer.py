"""The published implementation's state dicts (PadInv, Hammer): their keys, and their sizes from the shapes.

Each function takes a state dict with the published keys, and the options that no shape tells (:mod:`.hammer_options`),
and returns the constructor arguments of our network together with a state dict of ours. Keys that are left over,
missing or of an unexpected shape are found when that is loaded.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from padinv.checkpoints.formats.hammer_options import (
    Options,
    check_options,
    find_options,
    flag,
    number,
    scale,
    scale_generator,
)
from padinv.checkpoints.formats.state_dicts import (
    Config,
    Kind,
    Network,
    Readers,
    State,
    add_silent_noise,
    check_filters,
    count,
    discriminator_config,
    generator_config,
    rename,
    shape,
    tensors,
)
from padinv.checkpoints.formats.wrapping import AVERAGED
from padinv.exceptions import CheckpointError
from padinv.networks import Discriminator, Generator, PadInvEncoder
from padinv.networks.backbone import STAGE_BLOCKS

logger = logging.getLogger("padinv")

FORMAT = "PadInv, Hammer (.pth)"

GENERATOR_KEYS = re.compile(r"synthesis\.early_layer\.const|synthesis\.layer0\.style\.weight")
ENCODER_KEYS = re.compile(r"backbone_stages\.0\.0\.|latent_heads\.0\.linear\.weight")
DISCRIMINATOR_KEYS = re.compile(r"input\d+\.weight|residual0\.weight")

LEVEL = 1
"""The level of the pyramid that padding comes from, whatever its resolutions; 0 is the coarsest."""
RINGS = 4
"""The published number of rings: at 4, 8, 16 and 32 px."""


def read_generator(state: State, options: Options) -> Network:
    """Reads the published generator: ``mapping.dense{i}``, ``synthesis.layer{i}``, ``synthesis.output{k}``.

    Layer 2k - 1 upsamples to R = 4·2^k px and layer 2k follows at R; output k is toRGB at R.
    """
    _refuse_other_kinds(state, r"synthesis\.residual1\.", r"synthesis\.output0\.", "skip")
    check_filters(state, "filter")
    state = scale_generator(state, options)
    blocks = count(state, r"synthesis\.output(\d+)\.")
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
    ours = rename(state, rules, "the published generator")
    config = generator_config(ours, conv_clamp=options.get("conv_clamp"))
    if not any(key.endswith(".noise_strength") for key in ours):  # built with noise_type="none"
        add_silent_noise(ours)
    return config, ours


def _refuse_other_kinds(state: State, residual: str, skip: str, ours: str) -> None:
    """Raises CheckpointError unless the keys are those of our architecture, and of an unconditional network."""
    if any(re.match(r"(mapping\.)?(embedding|label_weight)", key) for key in state):
        raise CheckpointError("it is a conditional network of this format, of which padinv reads NVIDIA's alone")
    found = {
        name: any(re.match(pattern, key) for key in state) for name, pattern in (("resnet", residual), ("skip", skip))
    }
    if not found[ours] or all(found.values()):
        theirs = next((name for name, there in found.items() if there and name != ours), "origin")
        raise CheckpointError(f"it is of the architecture {theirs!r}, but padinv has {ours!r} alone")


def read_discriminator(state: State, options: Options) -> Network:
    """Reads the published discriminator: ``input{i}``, ``residual{k}``, ``layer{i}``, ``output``.

    ``input{i}`` is fromRGB at 1/2^i of the full resolution; only that of the full resolution belongs to the residual
    architecture. Block k has layers 2k and 2k + 1; three layers follow the last block.
    """
    _refuse_other_kinds(state, r"residual0\.", r"input1\.", "resnet")
    check_filters(state, "filter")
    state = scale(state, r".*(weight|bias)", options)
    blocks = count(state, r"residual(\d+)\.")
    resolution = 4 * 2**blocks
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
    ours = rename(state, rules, "the published discriminator")
    group_size = number(options, "mbstd_groups", 4, least=2, most=10_000)
    return discriminator_config(ours, mbstd_group_size=group_size, conv_clamp=options.get("conv_clamp")), ours


def read_encoder(state: State, options: Options) -> Network:
    """Reads the published encoder, with or without its padding branch.

    The depth follows from the number of bottlenecks, the input's size from the convolutions that fold the top level of
    the pyramid into a latent. The average latent is not among its keys.
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
    # Their laterals go from fine to coarse, ours from coarse to fine, the top first.
    laterals = count(state, r"fpn\.lateral_layers\.(\d+)\.")
    if laterals != 2:
        raise CheckpointError(f"its pyramid has {laterals + 1} levels, but padinv's has 3")
    fpn_channels = shape(state, "fpn.lateral_layers.0.weight", "encoder")[0]
    latents = options.get("num_latents_per_level")
    if not isinstance(latents, list | tuple) or len(latents) != 3 or not convs:
        latents = [convs.count(convs[0] + level) for level in range(3)]
    top = convs[0] - next((level for level in range(3) if latents[level]), 0)
    heads_there = count(state, r"padding_modulation_heads\.(\d+)\.")
    padding = heads_there > 0 or any(key.startswith("padding_extractor.") for key in state)
    padding = flag(options, "use_padding_space", padding)
    modulated = flag(options, "use_padding_modulation_head", heads_there > 0)
    if padding and modulated != (heads_there > 0):
        raise CheckpointError("its padding_modulation_heads are not what its use_padding_modulation_head says")
    said = {**options, "pad_layer_num": heads_there} if heads_there else options
    rings = number(said, "pad_layer_num", RINGS, least=1, most=9) if padding else 0  # the last would be at 1024 px
    channels = dict.fromkeys([4 * 2**k for k in range(rings)], fpn_channels)
    replace_const = padding and flag(options, "encode_const_input")
    config = {
        "code": {
            "num_layers": heads,
            "w_dim": shape(state, "latent_heads.0.linear.weight", "encoder")[0],
            "channels": channels,
        },
        "resolution": 2**top * 16,
        "depth": depth,
        "width": shape(state, "input_layer.0.weight", "encoder")[0],
        "fpn_channels": fpn_channels,
        "padded_resolutions": sorted(channels),
        "replace_const": replace_const,
        "padding_level": number(options, "feature_idx", LEVEL, least=0, most=2),
        "padding_depth": count(state, r"padding_extractor\.(\d+)\."),
        "padding_heads": modulated,
        "latents_per_level": list(latents),
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
    rules += [(rf"fpn\.lateral_layers\.{i}\.(.*)", rf"fpn.lateral.{laterals - i}.\1") for i in range(laterals)]
    ours = rename(state, rules, "the published encoder")
    for key in ours:
        if re.fullmatch(r"padding_head\.ring_heads\.\d+\.weight", key):
            ours[key] = ours[key].squeeze(-1)
    _add_gates(ours)
    if replace_const:  # the published constant is no offset
        ours["const_avg"] = torch.zeros(fpn_channels, 4, 4)
    if not flag(options, "start_from_latent_avg"):
        ours["w_avg"] = torch.zeros(config["code"]["w_dim"])
    return config, ours


def _add_gates(state: State) -> None:
    """Adds a neutral squeeze-and-excitation where there is none: its gate is ½, and the norm before it is doubled."""
    for key in [key for key in state if key.endswith(".norm2.weight")]:
        bottleneck = key.removesuffix(".norm2.weight")
        if f"{bottleneck}.se.squeeze.weight" not in state:
            channels = len(state[key])
            hidden = max(channels // 16, 1)
            state[f"{bottleneck}.se.squeeze.weight"] = torch.zeros(hidden, channels, 1, 1)
            state[f"{bottleneck}.se.excite.weight"] = torch.zeros(channels, hidden, 1, 1)
            for name in ("weight", "bias"):
                state[f"{bottleneck}.norm2.{name}"] = 2 * state[f"{bottleneck}.norm2.{name}"]


READERS: dict[Kind, tuple[tuple[str, ...], re.Pattern[str], Callable[[State, Options], Network]]] = {
    Generator: (("generator_smooth", "generator_ema", "generator"), GENERATOR_KEYS, read_generator),
    Discriminator: (("discriminator",), DISCRIMINATOR_KEYS, read_discriminator),
    PadInvEncoder: (("encoder",), ENCODER_KEYS, read_encoder),
}
"""Each network's names in a published checkpoint, a pattern of its keys, and its reader."""


def find(content: Any) -> Readers:
    """Finds the networks of ``{"models": {name: state_dict}}``, the average weights first, or of a bare state dict."""
    if not isinstance(content, dict):
        return {}
    models = content.get("models", content)
    models = models if isinstance(models, dict) else {}
    readers: Readers = {}
    averages = [name for name in models if isinstance(name, str) and AVERAGED.search(name)]  # of other tools
    for kind, (names, keys, _) in READERS.items():
        names = (*names[:-1], *averages, names[-1]) if kind is Generator else names
        states = [(name, tensors(models.get(name)) or {}) for name in names] + [(names[-1], tensors(content) or {})]
        states = [(name, state) for name, state in states if any(map(keys.match, state))]
        for name, state in states[:1]:
            called = (name, *names)  # what is said of the generator holds for its average, too
            built_with = find_options(content, "model_kwargs_init", called)
            called_with = find_options(content, "model_kwargs_val", called)
            readers[kind] = partial(read, kind, state, models, built_with, called_with)
    return readers


def read(
    kind: Kind,
    state: State,
    models: dict[Any, Any],
    options: Options | None,
    called_with: Options | None = None,
    _: int | None = None,
) -> Network:
    """Reads one network.

    Args:
        kind: the class of padinv's network.
        state: its state dict with the published keys.
        models: all networks of the file; the generator's mean latent is also the encoder's.
        options: the arguments that built it; None if the file does not say.
        called_with: the arguments of its calls in validation.

    Raises:
        CheckpointError: if it is of another architecture.
    """
    called_with = called_with or {}
    check_options(options or {}, kind)
    extra = {"feature_idx": called_with["feature_idx"]} if "feature_idx" in called_with else {}
    config, ours = READERS[kind][2](dict(state), {**(options or {}), **extra})
    if kind is PadInvEncoder and "w_avg" not in ours:
        for name in ("generator_smooth", "generator"):  # the latter's counts
            generator = models.get(name)
            if isinstance(generator, dict) and isinstance(w_avg := generator.get("w_avg"), Tensor):
                ours["w_avg"] = w_avg
    if options is None:
        _say_what_is_assumed(kind, config)
    return config, ours


def _say_what_is_assumed(kind: Kind, config: Config) -> None:
    assumed = []
    if kind is Discriminator:
        assumed = [f"groups of {config['mbstd_group_size']} in the minibatch standard deviation"]
    if kind is PadInvEncoder:
        assumed = ["latents are offsets from the mean latent"]
        if rings := config["padded_resolutions"]:
            assumed += ["the constant is predicted", f"rings at {', '.join(map(str, rings))} px"]
    if assumed:
        logger.warning(
            "The checkpoint does not say how its %s was built (it has no model_kwargs_init), so this is assumed, as "
            "published: %s.",
            kind.__name__,
            "; ".join(assumed),
        )
