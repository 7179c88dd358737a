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
    "Checkpoint": "checkpoints",
    "Discriminator": "networks",
    "Generator": "networks",
    "ImageDataModule": "data",
    "Inversion": "inversion",
    "InversionCode": "codes",
    "Inverter": "inversion",
    "PadInvEncoder": "networks",
    "PadInvModule": "training",
    "PaddingCode": "codes",
    "load_discriminator": "checkpoints",
    "load_encoder": "checkpoints",
    "load_generator": "checkpoints",
    "open_checkpoint": "checkpoints",
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
    if name in _HOMES:
        return getattr(import_module(f"padinv.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'padinv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
