"""A StyleGAN2Module on the small GAN, and a way to fit it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer

import fitting
from padinv.gan import StyleGAN2Module
from padinv.losses import AdversarialLoss

Build = Callable[..., StyleGAN2Module]
Fit = Callable[..., tuple[Trainer, fitting.Recorder]]


@pytest.fixture
def build(generator_file: str, discriminator_file: str) -> Build:
    def build_module(**options: Any) -> StyleGAN2Module:
        torch.manual_seed(0)
        loss = AdversarialLoss(r1_gamma=1.0, r1_every=4)
        defaults = {"generator": generator_file, "discriminator": discriminator_file, "adversarial_loss": loss}
        return StyleGAN2Module(**{**defaults, "fid_samples": 8, **options})

    return build_module


@pytest.fixture
def fit(picture_folder: Path) -> Fit:
    def fit_module(
        module: StyleGAN2Module, steps: int = 3, batch_size: int = 4, **options: Any
    ) -> tuple[Trainer, fitting.Recorder]:
        data = {"val": str(picture_folder), "batch_size": batch_size}
        return fitting.fit(module, picture_folder, steps, data, **options)

    return fit_module
