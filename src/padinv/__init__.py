"""padinv: GAN inversion with padding space (PadInv, Bai et al., ECCV 2022).

The public names are loaded when first used, so that ``import padinv`` is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from padinv._version import __version__

if TYPE_CHECKING:
    from padinv.checkpoints import Checkpoint, load_discriminator, load_encoder, load_generator, open_checkpoint
    from padinv.codes import InversionCode, PaddingCode
    from padinv.data import ImageDataModule
    from padinv.inversion import Inversion, Inverter
    from padinv.networks import Discriminator, Generator, PadInvEncoder
    from padinv.training import PadInvModule

_HOMES = {
    "checkpoints": ("Checkpoint", "load_discriminator", "load_encoder", "load_generator", "open_checkpoint"),
    "codes": ("InversionCode", "PaddingCode"),
    "data": ("ImageDataModule",),
    "inversion": ("Inversion", "Inverter"),
    "networks": ("Discriminator", "Generator", "PadInvEncoder"),
    "training": ("PadInvModule",),
}

__all__ = [
    "Checkpoint",
    "Discriminator",
    "Generator",
    "ImageDataModule",
    "Inversion",
    "InversionCode",
    "Inverter",
    "PadInvEncoder",
    "PadInvModule",
    "PaddingCode",
    "__version__",
    "load_discriminator",
    "load_encoder",
    "load_generator",
    "open_checkpoint",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"padinv.{home}"), name)
    raise AttributeError(f"module 'padinv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
