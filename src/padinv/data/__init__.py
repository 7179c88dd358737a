"""Images for training and evaluation: ``ImageDataModule`` and what it is made of."""

from padinv.data.datamodule import ImageDataModule
from padinv.data.dataset import ImageBatch, ImageLoader, UnreadableImageWarning

__all__ = ["ImageBatch", "ImageDataModule", "ImageLoader", "UnreadableImageWarning"]
