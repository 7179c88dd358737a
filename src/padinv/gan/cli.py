"""``padinv fit-gan``: trains a generator, configured as ``padinv fit`` is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint

from padinv.gan.snapshots import GanReport, NetworkFiles, SamplePictures
from padinv.training import ImageProgressBar, ImageSchedule, LastCheckpoint, cli


class GanCLI(cli.PadInvCLI):
    """The command line of ``padinv fit`` around a StyleGAN2Module."""

    command = "fit-gan"
    presets_folder = "presets/gan"
    callbacks: ClassVar[dict[str, type[Callback]]] = {
        "schedule": ImageSchedule,
        "progress": ImageProgressBar,
        "pictures": SamplePictures,
        "networks": NetworkFiles,
        "checkpoint": ModelCheckpoint,
        "last_checkpoint": LastCheckpoint,
        "report": GanReport,
    }
    defaults: ClassVar = {
        **cli.PadInvCLI.defaults,
        "model": {"class_path": "padinv.gan.StyleGAN2Module"},
        "checkpoint.monitor": "val/fid",
    }


def main(args: Sequence[str]) -> int:
    """Trains a generator.

    Args:
        args: the words behind ``padinv fit-gan``.

    Returns:
        0.
    """
    return cli.main(["fit", *args], GanCLI)
