"""The short help of the commands that train: it is printed without importing Lightning, which takes seconds."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import ClassVar


def presets(folder: str = "presets") -> dict[str, Path]:
    """The configs in a folder of the package, by name.

    Those of ``padinv fit``: quickstart, and the published recipes ffhq, church and bedroom.
    """
    return {path.stem: path for path in sorted(Path(str(files("padinv") / folder)).glob("*.yaml"))}


class TrainingHelp:
    """The help of ``padinv fit``, ``validate`` and ``test``.

    Attributes:
        command: that starts a training, without ``padinv``.
        presets_folder: folder of the presets in the package.
        abouts: a line of help for each command.
        examples: the first one is a good start.
        common: the options that are shown, each with a line.
        common_to_all: those of every training.
    """

    command: ClassVar[str] = "fit"
    presets_folder: ClassVar[str] = "presets"
    abouts: ClassVar[dict[str, str]] = {
        "fit": "Train an encoder that inverts a generator.",
        "validate": "Measure a run's encoder on its validation images.",
        "test": "Measure a run's encoder on its test images.",
    }
    examples: ClassVar[tuple[str, ...]] = (
        "padinv fit --config quickstart",
        "padinv fit --config ffhq --model.generator G.pth --data.train faces.zip",
        "padinv fit --config quickstart --ckpt_path last --schedule.images 6400",
        "padinv test --config quickstart --ckpt_path runs/quickstart/version_0",
    )
    common: ClassVar[dict[str, str]] = {
        "--data.train, .val, .test": "folder, zip file or LMDB; [a, b]",
        "--data.resolution, .batch_size": "pixels; images a device at once",
        "--model.generator, --model.discriminator": "bundled name, or checkpoint",
        "--model.lambda_pix, _per, _id, _adv, _reg": "weights of the losses",
        "--model.optimizer_e.lr": "learning rate of the encoder",
    }
    common_to_all: ClassVar[dict[str, str]] = {
        "--schedule.images, .validate_every": "the length; between validations",
        "--ckpt_path": "last, best, run's folder, file",
        "--trainer.devices, .precision": "such as 8, and bf16-mixed",
        "--trainer.logger": "CSVLogger, WandbLogger, false",
        "--checkpoint null, --pictures null, …": "switches a callback off",
        "--seed_everything": "seed of weights and order",
        "--json": "print JSON alone: metrics, files",
    }

    @classmethod
    def program(cls, command: str) -> str:
        """The words that call a command."""
        return f"padinv {cls.command if command == 'fit' else command}".strip()

    @classmethod
    def summary(cls, command: str) -> str:
        """The short help of a command."""
        texts = {**cls.common, **cls.common_to_all}
        more = {
            "--model.help CLASS, --data.help CLASS": "the options of a class",
            "--print_config, --help-all": "every value, as YAML; every option",
        }

        def listed(entries: dict[str, str]) -> list[str]:
            return [f"  {name:<42}{text}".rstrip() for name, text in entries.items()]

        return "\n".join(
            [
                f"usage: {cls.program(command)} --config PRESET|FILE [--OPTION VALUE …]",
                f"{cls.abouts[command]} Options override the config.",
                f"Presets: {', '.join(presets(cls.presets_folder))}.",
                "",
                *[f"  {example}" for example in cls.examples],
                "",
                *listed({**texts, **more}),
                "",
            ]
        )


class GanHelp(TrainingHelp):
    """The help of ``padinv fit-gan``."""

    command = "fit-gan"
    presets_folder = "presets/gan"
    abouts: ClassVar = {**TrainingHelp.abouts, "fit": "Train a generator, and its discriminator."}
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


def help_of(command: str) -> str | None:
    """The short help of a command of ``padinv``; None if it is not one that trains.

    >>> print(help_of("fit-gan").partition(" --config")[0])
    usage: padinv fit-gan
    """
    cls = GanHelp if command == GanHelp.command else TrainingHelp
    name = "fit" if command == cls.command else command
    return cls.summary(name) if name in cls.abouts else None
