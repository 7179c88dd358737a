"""Writes the results of each photograph as soon as they are there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from PIL import Image
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor
from tqdm import tqdm

from padinv.bulk.module import Outcome
from padinv.bulk.naming import names_of_faces
from padinv.bulk.outputs import OutputFolder, Record
from padinv.exceptions import ConfigError, PadInvError
from padinv.inversion.paste import paste_into


class ResultWriter(BasePredictionWriter):
    """Writes the files of each photograph, then its record, so that a photograph with a record has all files.

    Args:
        folder: for the results.
    """

    def __init__(self, folder: OutputFolder) -> None:
        super().__init__(write_interval="batch")
        self.folder = folder

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Writes the results of :meth:`padinv.bulk.BulkInversion.predict_step`.

        Raises:
            ConfigError: if a file cannot be written.
            SIGTERMException: if the process was told to end; Lightning's own loop checks only in training and
                validation.
        """
        for outcome in prediction:
            if outcome.problem:
                tqdm.write(f"padinv: {outcome.problem}", file=sys.stderr)  # beside the progress bar, not into it
            for remark in outcome.item.remarks:
                tqdm.write(f"padinv: {remark}", file=sys.stderr)
            try:
                self.folder.add(self._write(outcome), trainer.global_rank)
            except PadInvError as error:
                path = outcome.item.photograph.path
                raise ConfigError(f"The results of {path} are lost: {error} The same command goes on there.") from error
        if trainer.received_sigterm:
            raise SIGTERMException

    def _write(self, outcome: Outcome) -> Record:
        _, path, name, settings = outcome.item.photograph
        if outcome.problem:
            return {"photograph": path, "error": outcome.problem}
        results = outcome.results
        self.folder.remove_other_faces(path, name, len(results))
        for result, own in zip(results, names_of_faces(name, len(results)), strict=True):
            image = result.inversion.images[0].clamp(-1, 1) / 2 + 0.5
            self.folder.write(self.folder.file("images", own), partial(write_png, image))
            self.folder.write(self.folder.file("grids", own), partial(write_png, result.grid))
            self.folder.write(self.folder.file("codes", own), partial(result.inversion.save, images=False))
        if "photographs" in self.folder.kinds and outcome.item.image is not None:
            places = [(result.inversion.images[0], result.inversion.crop[0]) for result in results]
            photograph = paste_into(outcome.item.original or outcome.item.image, places)
            self.folder.write(
                self.folder.file("photographs", name), partial(photograph.save, format="PNG", compress_level=3)
            )
        metrics = {key: mean(result.metrics[key] for result in results) for key in results[0].metrics}
        return {
            "photograph": path,
            "name": name,
            **metrics,
            "seconds": round(outcome.seconds, 4),
            "faces": len(results),
            "settings": settings,
        }

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merges the records, once all processes are done."""
        trainer.strategy.barrier("padinv results")
        if trainer.is_global_zero:
            self.folder.merge()


def write_png(image: Tensor, path: Path) -> None:
    """Writes (3, H, W) in [0, 1], compressed a little less than usual, which takes a third of the time."""
    pixels = image.detach().mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels).save(path, "PNG", compress_level=3)
