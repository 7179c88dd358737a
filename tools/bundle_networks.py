"""Writes bundled networks from checkpoints: of `padinv fit-gan` (or a published one), then of `padinv fit`.

python tools/bundle_networks.py gan CHECKPOINT
python tools/bundle_networks.py encoder CHECKPOINT
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from padinv.checkpoints import fingerprint, load_discriminator, load_encoder, load_generator, save_network

ASSETS = Path(__file__).parent.parent / "src" / "padinv" / "assets"

if __name__ == "__main__":
    what, source = sys.argv[1:]
    # Half precision, so that the wheel stays small, for all but the generator, whose bits its fingerprint is of.
    if what == "gan":
        save_network(load_generator(source), ASSETS / "congress64-generator.safetensors")
        save_network(load_discriminator(source), ASSETS / "congress64-discriminator.safetensors", torch.float16)
    else:
        trained_for = fingerprint(load_generator("congress64"))
        target = ASSETS / "congress64-encoder.safetensors"
        save_network(load_encoder(source), target, torch.float16, generator=trained_for)
