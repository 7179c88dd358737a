"""Reading networks from files, safely, and writing them."""

from padinv.checkpoints.building import estimate_w_avg
from padinv.checkpoints.checkpoint import Checkpoint, load_discriminator, load_encoder, load_generator, open_checkpoint
from padinv.checkpoints.native import fingerprint, save_network
from padinv.checkpoints.pair import load_pair

__all__ = [
    "Checkpoint",
    "estimate_w_avg",
    "fingerprint",
    "load_discriminator",
    "load_encoder",
    "load_generator",
    "load_pair",
    "open_checkpoint",
    "save_network",
]
