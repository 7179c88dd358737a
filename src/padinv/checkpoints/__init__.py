"""Reading networks from files, safely, and writing them."""

from padinv.checkpoints.checkpoint import estimate_w_avg, load_discriminator, load_encoder, load_generator
from padinv.checkpoints.native import fingerprint, save_network

__all__ = [
    "estimate_w_avg",
    "fingerprint",
    "load_discriminator",
    "load_encoder",
    "load_generator",
    "save_network",
]
