"""Checkpoints of a ``padinv fit`` run: what Lightning writes, with the configuration of our networks beside it."""

from __future__ import annotations

from functools import partial
from typing import Any

from padinv.checkpoints.renaming import Network, Reader, State, tensors

FORMAT = "padinv training run (.ckpt)"

LIGHTNING_KEY = "padinv"
"""Where a Lightning checkpoint of PadInvModule keeps the configuration of its networks."""

PREFIXES = {"PadInvEncoder": ("encoder_ema.module.", "encoder."), "Discriminator": ("discriminator.",)}
"""For each network: where it is in the module's state, the moving average of a run that kept one first."""


def find(content: Any) -> dict[str, Reader]:
    """Finds the networks whose configuration and weights are both there."""
    if not isinstance(content, dict) or not isinstance(content.get(LIGHTNING_KEY), dict):
        return {}
    readers: dict[str, Reader] = {}
    for network, prefixes in PREFIXES.items():
        config = content[LIGHTNING_KEY].get(network)
        states = [state for prefix in prefixes if (state := tensors(content.get("state_dict"), prefix))]
        if isinstance(config, dict) and states:
            readers[network] = partial(_read, config, states[0])
    return readers


def _read(config: dict[str, Any], state: State, _: int | None) -> Network:
    return config, dict(state)
