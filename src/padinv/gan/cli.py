"""``padinv fit-gan``: trains a generator, configured as ``padinv fit`` is."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from padinv.help import GanHelp
from padinv.training import cli


class GanCLI(GanHelp, cli.PadInvCLI):
    """The command line of ``padinv fit`` around a StyleGAN2Module."""

    callbacks: ClassVar = {
        **cli.PadInvCLI.callbacks,
        "pictures": cli.callback("padinv.gan.snapshots.SamplePictures"),
        "networks": cli.callback("padinv.gan.snapshots.NetworkFiles"),
        "checkpoint": cli.checkpoint("val/fid"),
        "report": cli.callback("padinv.gan.snapshots.GanReport"),
    }
    defaults: ClassVar = {**cli.PadInvCLI.defaults, "model": {"class_path": "padinv.gan.StyleGAN2Module"}}


main = partial(cli.run_command, "fit", cli=GanCLI)
