"""Draws pictures of a run into its folder, and to its loggers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger
from torch import Tensor

from padinv.codes import InversionCode
from padinv.exceptions import ConfigError
from padinv.pictures import contact_sheet, ring_heat_maps, save_picture
from padinv.training.module import PadInvModule
from padinv.training.run import run_directory


class ReconstructionPictures(Callback):
    """At each validation, draws the same images and their reconstructions, and the padding rings as heat maps.

    ``pictures/reconstructions.png`` has a row of photographs, then rows of reconstructions: by W+ alone, by W+ and
    padding, by all with features, as far as the encoder predicts them. ``pictures/rings.png`` has a row for each
    photograph. With a logger that takes images (W&B, TensorBoard) they are logged, too; files always hold the latest.

    Args:
        images: how many, from the first validation batches.
    """

    def __init__(self, images: int = 8) -> None:
        if images < 1:
            raise ConfigError(f"images of ReconstructionPictures must be 1 or more, not {images}.")
        self.images = images
        self._batches: list[Tensor] = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets the last validation's images."""
        self._batches = []

    def on_validation_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Keeps the first images."""
        missing = self.images - sum(map(len, self._batches))
        if trainer.is_global_zero and missing > 0:
            self._batches.append(batch["image"][:missing])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws, writes and logs."""
        directory = run_directory(trainer) / "pictures"
        if not self._batches or not trainer.is_global_zero or not isinstance(pl_module, PadInvModule):
            return
        directory.mkdir(parents=True, exist_ok=True)
        with torch.inference_mode():
            pictures = draw_reconstructions(pl_module, torch.cat(self._batches))
        for name, picture in pictures.items():
            save_picture(picture, directory / f"{name}.png")
            for logger in trainer.loggers:
                log_image(logger, f"pictures/{name}", picture, int(pl_module.images_seen))
        self._batches = []

    @staticmethod
    def path(directory: Path) -> Path:
        """The path of the picture of reconstructions, in a run's folder."""
        return directory / "pictures" / "reconstructions.png"


def draw_reconstructions(module: PadInvModule, images: Tensor) -> dict[str, Tensor]:
    """Draws images (B, 3, H, W) in [-1, 1] with their reconstructions, and their padding rings."""
    code = module(images)
    stages = [InversionCode(code.w_plus)]
    if code.padding is not None:
        stages.append(InversionCode(code.w_plus, code.padding))
    if code.features is not None:
        stages.append(code)
    pictures = {"reconstructions": contact_sheet([images, *map(module.reconstruct, stages)])}
    return pictures if code.padding is None else pictures | {"rings": ring_heat_maps(code.padding)}


def log_image(logger: Logger, key: str, image: Tensor, step: int) -> None:
    """Logs an image (3, H, W) in [0, 1] to a logger that takes images, such as W&B or TensorBoard."""
    if hasattr(logger, "log_image"):
        logger.log_image(key=key, images=[image], step=step)
        return
    experiment: Any = getattr(logger, "experiment", None)
    if hasattr(experiment, "add_image"):
        experiment.add_image(key, image, global_step=step)
