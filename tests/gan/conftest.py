"""A StyleGAN2Module on the small GAN, and a way to fit it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from padinv import ImageDataModule
from padinv.gan import StyleGAN2Module
from padinv.losses import AdversarialLoss

Build = Callable[..., StyleGAN2Module]
Fit = Callable[..., tuple[Trainer, "Recorder"]]


@pytest.fixture
def build(generator_file: str, discriminator_file: str) -> Build:
    def build_module(**options: Any) -> StyleGAN2Module:
        torch.manual_seed(0)
        loss = AdversarialLoss(r1_gamma=1.0, r1_every=4)
        defaults = {"generator": generator_file, "discriminator": discriminator_file, "adversarial_loss": loss}
        return StyleGAN2Module(**{**defaults, "fid_samples": 8, **options})

    return build_module


class Recorder(Callback):
    """The metrics and files of every batch; stops after some."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.metrics: list[dict[str, float]] = []
        self.names: list[list[str]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        self.metrics.append({key: float(value) for key, value in trainer.callback_metrics.items()})
        self.names.append(batch["name"])
        trainer.should_stop = int(pl_module.steps) >= self.steps


@pytest.fixture
def fit(picture_folder: Path) -> Fit:
    def fit_module(
        module: StyleGAN2Module, steps: int = 3, ckpt: Path | None = None, batch_size: int = 4, **options: Any
    ) -> tuple[Trainer, Recorder]:
        recorder = Recorder(steps)
        defaults = {
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "limit_val_batches": 0,
            "log_every_n_steps": 1,
            "max_epochs": -1,
        }
        options["callbacks"] = [recorder, *options.get("callbacks", [])]
        trainer = Trainer(**{**defaults, **options})
        folder = str(picture_folder)
        data = ImageDataModule(train=folder, val=folder, resolution=32, batch_size=batch_size, num_workers=0)
        trainer.fit(module, data, ckpt_path=ckpt, weights_only=True)
        return trainer, recorder

    return fit_module
