"""``padinv fit-gan``: trains a generator, configured as ``padinv fit`` is."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from padinv.training import cli


class GanCLI(cli.PadInvCLI):
    """The command line of ``padinv fit`` around a StyleGAN2Module."""

    command = "fit-gan"
    presets_folder = "presets/gan"
    callbacks: ClassVar = {
        **cli.PadInvCLI.callbacks,
        "pictures": cli.callback("padinv.gan.snapshots.SamplePictures"),
        "networks": cli.callback("padinv.gan.snapshots.NetworkFiles"),
        "checkpoint": cli.checkpoint("val/fid"),
        "report": cli.callback("padinv.gan.snapshots.GanReport"),
    }
    defaults: ClassVar = {**cli.PadInvCLI.defaults, "model": {"class_path": "padinv.gan.StyleGAN2Module"}}
    abouts: ClassVar = {**cli.PadInvCLI.abouts, "fit": "Train a generator, and its discriminator."}
    examples: ClassVar = (
        "padinv fit-gan --config gan64",
        "padinv fit-gan --config gan256 --data.train photographs.zip",
        "padinv fit-gan --config gan64 --ckpt_path last",
    )
    common: ClassVar = {
        "--data.train, .val": "folder, zip file or LMDB; [a, b]",
        "--data.resolution, .batch_size": "pixels; images a device at once",
        "--model.generator, --model.discriminator": "what to start from",
        "--model.optimizer_g.lr, .optimizer_d.lr": "learning rates",
        "--model.augmentation null": "without augmentation",
        "--model.fid_samples": "samples for val/fid",
    }


main = partial(cli.run_command, "fit", cli=GanCLI)
