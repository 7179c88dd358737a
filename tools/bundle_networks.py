"""Writes the bundled generator and discriminator from a published-format checkpoint: tools/bundle_networks.py FILE."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from padinv.checkpoints import load_discriminator, load_generator, save_network

ASSETS = Path(__file__).parent.parent / "src" / "padinv" / "assets"

if __name__ == "__main__":
    source = sys.argv[1]
    save_network(load_generator(source), ASSETS / "congress64-generator.safetensors")
    # Half precision: the discriminator only guides, and the wheel stays under its 25 MB.
    save_network(load_discriminator(source), ASSETS / "congress64-discriminator.safetensors", torch.float16)
