"""What ``padinv predict`` leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter
from safetensors.torch import save_file
from torchvision.utils import save_image

from padinv.training.run import make_run_directory


class PredictionWriter(BasePredictionWriter):
    """Writes each batch as it comes, so that nothing piles up: a PNG a photograph, and the codes of the batch.

    ``predictions/images/RANK-BATCH-NAME.png`` is the reconstruction. ``predictions/codes/RANK-BATCH.safetensors``
    holds the codes under the names of :meth:`~padinv.InversionCode.named_tensors`, and in its metadata the names of
    the photographs. Each rank writes its own files.

    Args:
        folder: where instead of ``predictions`` in the run's folder.
    """

    def __init__(self, folder: str | None = None) -> None:
        super().__init__(write_interval="batch")
        self.given = folder
        self.folder = Path()
        self.images = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Makes the folders."""
        super().setup(trainer, pl_module, stage)
        if stage == "predict":
            given = trainer.strategy.broadcast(self.given)
            self.folder = make_run_directory(trainer) / "predictions" if given is None else Path(given)
            self.images = 0
            for name in ("images", "codes"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)

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
        """Writes what :meth:`padinv.PadInvModule.predict_step` returned."""
        shard = f"{trainer.global_rank:03d}-{batch_idx:06d}"
        for name, image in zip(prediction["name"], prediction["reconstruction"], strict=True):
            save_image(image.clamp(-1, 1) / 2 + 0.5, self.folder / "images" / f"{shard}-{Path(name).stem}.png")
        tensors = {name: tensor.contiguous() for name, tensor in prediction["code"].cpu().named_tensors().items()}
        self.images += len(prediction["name"])
        metadata = {str(i): name for i, name in enumerate(prediction["name"])}
        save_file(tensors, str(self.folder / "codes" / f"{shard}.safetensors"), metadata)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says where everything is."""
        images = int(trainer.strategy.reduce(torch.tensor(self.images, device=pl_module.device), reduce_op="sum"))
        if trainer.is_global_zero:
            print(f"{images} reconstructions are in {self.folder / 'images'}, their codes in {self.folder / 'codes'}.")
