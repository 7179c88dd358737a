"""Checks whether a run can start from another encoder: what of its configuration must agree, and what may be new."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from padinv.checkpoints import load_encoder
from padinv.checkpoints.building import check_state
from padinv.exceptions import CheckpointError, ConfigError

UNSEEN_IN_ENCODERS = ("padding_level", "first_for_all", "resize_to_rings", "style_scales_rings", "passes")
"""Options of an encoder that no shape of its weights tells."""


def weights_to_start_from(encoder: nn.Module, source: str) -> dict[str, Tensor]:
    """Loads the weights of another encoder, for one of the same kind and size.

    Args:
        encoder: the one that will get the weights. Its feature heads, if it has any, begin at zero.
        source: where the other encoder is, as for :func:`padinv.load_encoder`.

    Returns:
        A state dict of ``encoder``.

    Raises:
        ConfigError: if the two configurations differ.
        CheckpointError: if the other encoder cannot be loaded.
    """
    start = load_encoder(source)
    theirs, ours = (_itself(config) for config in (start.config, getattr(encoder, "config", start.config)))
    state = start.state_dict()
    if not start.feature_resolutions:
        theirs = {key: value for key, value in theirs.items() if not key.startswith("feature_")}
        theirs["code"] = ours.get("code") if _fits(theirs["code"], ours.get("code", {})) else theirs["code"]
        own = encoder.state_dict()
        state |= {key: tensor for key, tensor in own.items() if key.startswith("feature_heads.")}
    if differing := [key for key, value in theirs.items() if ours.get(key) != value]:
        theirs, ours = ({key: config.get(key) for key in differing} for config in (theirs, ours))
        raise ConfigError(
            f"encoder_weights names {source!r}, an encoder with {theirs}, but this run's has {ours}; give "
            "model.encoder the same arguments."
        )
    check_state(encoder, state, f"The encoder {source!r}")
    return state


def check_unseen_options(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuses a checkpoint whose encoder had other options, among those that no shape of a weight tells.

    Args:
        before: the configuration of the checkpoint's encoder; empty if it has none.
        now: the configuration of the run's encoder.

    Raises:
        CheckpointError: if one of these options differs.
    """
    for option in UNSEEN_IN_ENCODERS:
        if option in before and before[option] != now.get(option, before[option]):
            raise CheckpointError(
                f"The checkpoint's encoder was trained with {option} {before[option]}, but this run's has "
                f"{now[option]}; set model.encoder.init_args.{option} to {before[option]}."
            )


def _itself(config: dict[str, Any]) -> dict[str, Any]:
    """An encoder's configuration without the parts that describe its generator, which files may lack."""
    used = {4 * bool(config.get("replace_const")), *config.get("padded_resolutions", [])}
    used |= {*config.get("feature_resolutions", [])}
    code = dict(config.get("code", {}))
    code["channels"] = {r: width for r, width in code.get("channels", {}).items() if r in used}
    return {**config, "code": code}


def _fits(part: dict[str, Any], code: dict[str, Any]) -> bool:
    """Whether an encoder's description of its generator, as far as it goes, is the same as another's."""
    return {**code, **part, "channels": {**code.get("channels", {}), **part["channels"]}} == code
