"""Writes bundled networks from checkpoints: of `padinv fit-gan` (or a published one), then of `padinv fit`.

python tools/bundle_networks.py gan CHECKPOINT [CHECKPOINT …]
python tools/bundle_networks.py encoder CHECKPOINT

Of several checkpoints of one training, the generator's weights are the mean of theirs (a moving average that looks
further back, which makes samples calmer), and the discriminator is the last one's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from padinv import Generator
from padinv.checkpoints import fingerprint, load_discriminator, load_encoder, load_generator, save_network

ASSETS = Path(__file__).parent.parent / "src" / "padinv" / "assets"


def mean_generator(sources: list[str]) -> Generator:
    """The last checkpoint's generator, with the mean of the weights of all."""
    generators = [load_generator(source) for source in sources]
    states = [generator.state_dict() for generator in generators]
    means = {name: torch.stack([state[name] for state in states]).mean(0) for name in states[-1]}
    generators[-1].load_state_dict(means)
    return generators[-1]


def main(what: str, *sources: str) -> None:
    """Writes the networks of one kind."""
    # Half precision, so that the wheel stays small, for all but the generator, whose bits its fingerprint is of.
    if what == "gan":
        save_network(mean_generator([*sources]), ASSETS / "congress64-generator.safetensors")
        save_network(load_discriminator(sources[-1]), ASSETS / "congress64-discriminator.safetensors", torch.float16)
    else:
        trained_for = fingerprint(load_generator("congress64"))
        target = ASSETS / "congress64-encoder.safetensors"
        save_network(load_encoder(sources[-1]), target, torch.float16, generator=trained_for)


if __name__ == "__main__":
    main(*sys.argv[1:])
