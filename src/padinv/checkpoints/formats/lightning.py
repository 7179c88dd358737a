"""Checkpoints of ``padinv fit`` and ``fit-gan``: what Lightning writes, and the configuration of our networks."""

from __future__ import annotations

from functools import partial
from typing import Any

from padinv.checkpoints.formats.state_dicts import Network, Reader, State, tensors

FORMAT = "padinv training run (.ckpt)"

LIGHTNING_KEY = "padinv"
"""Where a Lightning checkpoint of PadInvModule or StyleGAN2Module keeps the configuration of its networks."""

PREFIXES = {
    "PadInvEncoder": ("encoder_ema.", "encoder."),
    "Generator": ("generator_ema.",),
    "Discriminator": ("discriminator.",),
}
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


def trained_for(content: Any) -> str | None:
    """The fingerprint of the generator that a run's encoder was trained for; None for what is no such run."""
    run = content.get(LIGHTNING_KEY) if isinstance(content, dict) else None
    generator = run.get("generator") if isinstance(run, dict) else None
    return generator if isinstance(generator, str) else None


def _read(config: dict[str, Any], state: State, _: int | None) -> Network:
    return config, dict(state)
