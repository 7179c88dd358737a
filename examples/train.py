"""Trains an encoder from Python, without the command line, on the bundled portraits: python examples/train.py

A few minutes on a CPU. ``--images 64`` only shows that it works.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torchvision.utils import save_image

from padinv import ImageDataModule, PadInvEncoder, PadInvModule, load_encoder, load_generator
from padinv.losses import DiscriminatorFeatureLoss
from padinv.pictures import contact_sheet
from padinv.training import (
    ImageProgressBar,
    ImageSchedule,
    LastCheckpoint,
    ReconstructionPictures,
    RunReport,
    StopAtSignals,
)


def train(images: int, output: Path) -> Path:
    """Trains for a number of images, and returns the best checkpoint."""
    seed_everything(0)
    data = ImageDataModule(
        train="congress64-train", val="congress64-val", resolution=64, batch_size=min(8, images), num_workers=0
    )
    module = PadInvModule(
        generator="congress64",
        # What takes further arguments goes in as a partial; the module calls it with the generator's code_shape.
        encoder=partial(PadInvEncoder, resolution=64, depth=18, width=16),
        perceptual_loss=DiscriminatorFeatureLoss("congress64"),
        lambda_per=0.1,
        optimizer_e=partial(torch.optim.Adam, lr=1e-3),
    )
    best = ModelCheckpoint(
        filename="images-{step:08d}", monitor="val/mse", auto_insert_metric_name=False, save_on_train_epoch_end=False
    )
    trainer = Trainer(
        max_epochs=-1,  # ImageSchedule ends the run
        logger=CSVLogger(str(output), name="python"),
        log_every_n_steps=10,
        num_sanity_val_steps=-1,  # measures before training, too
        callbacks=[
            StopAtSignals(),  # Ctrl+C leaves a checkpoint
            ImageSchedule(images=images, validate_every=max(1, images // 4)),
            ImageProgressBar(),
            ReconstructionPictures(),
            best,
            LastCheckpoint(),
            RunReport(),
        ],
    )
    trainer.fit(module, datamodule=data)
    return Path(best.best_model_path)


@torch.inference_mode()
def reconstruct(checkpoint: Path, picture: Path) -> None:
    """Draws portraits above their reconstructions: all that is needed of a run is its checkpoint."""
    encoder, generator = load_encoder(checkpoint), load_generator("congress64")
    data = ImageDataModule(val="congress64-val", resolution=64, num_workers=0)
    portraits = next(iter(data.val_dataloader()))["image"]
    save_image(contact_sheet([portraits, generator.synthesis(*encoder(portraits).parts)]), picture)
    print(f"{'portraits':<14}{picture}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3200, help="how many to train on")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="folder for the run")
    options = parser.parse_args()
    checkpoint = train(options.images, options.output)
    reconstruct(checkpoint, options.output / "portraits.png")
