"""The three networks of PadInv, each usable without Lightning."""

from padinv.networks.arguments import stylegan2_channels
from padinv.networks.discriminator import Discriminator
from padinv.networks.encoder import PadInvEncoder
from padinv.networks.generator import Generator, MappingNetwork
from padinv.networks.passes import encode
from padinv.networks.synthesis import SynthesisNetwork

__all__ = [
    "Discriminator",
    "Generator",
    "MappingNetwork",
    "PadInvEncoder",
    "SynthesisNetwork",
    "encode",
    "stylegan2_channels",
]
