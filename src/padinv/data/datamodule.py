"""``ImageDataModule``: the images of a run, from paths to batches, resumable at the image where it stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import torch.distributed as dist
from pytorch_lightning import LightningDataModule
from pytorch_lightning.core.saving import load_hparams_from_yaml

from padinv.checkpoints.hyperparameters import build_arguments, read_run
from padinv.data.dataset import ImageDataset, ImageLoader, split
from padinv.data.sampler import EvalSampler, Position, TrainSampler
from padinv.exceptions import ConfigError
from padinv.options import LIMIT_OF_WORKERS
from padinv.sources.opening import open_source

if TYPE_CHECKING:
    from typing_extensions import Self

Split = Literal["train", "val", "test", "predict"]
_STAGES: dict[str, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("predict",),
}


class ImageDataModule(LightningDataModule):
    """Images from folders, zip files and LSUN LMDB directories, squared to one resolution, in [-1, 1].

    Each of ``train``, ``val``, ``test`` and ``predict`` is a path or a list of paths: a folder (searched recursively),
    a zip file, an LSUN LMDB directory, an image file, or the name of a bundled data set ("congress64-train",
    "congress64-val"). Batches are dicts: "image", float32 (B, 3, R, R) in [-1, 1], and "name", B paths.

    Training batches are shuffled and always full. Order and flips depend on ``seed``, epoch and place alone, not on
    workers or devices. A checkpoint holds how far training has come, in images over all processes: a resumed run goes
    on with the image after the last one trained on, whatever its batch size, devices or workers. Evaluation takes each
    image once, in order, on any number of devices.

    A file that cannot be read is reported once by name (``UnreadableImageWarning``) and skipped: in training the next
    readable image takes its place, in evaluation the batch is shorter.

    Args:
        train: images to train on.
        val: images to validate on.
        test: images to test on.
        predict: images to predict.
        resolution: R in pixels; the short side is resized to it, with antialiasing, and the centre is cropped.
        batch_size: number of images in a training batch of each process.
        eval_batch_size: number of images in a batch of validation, test and prediction; ``batch_size`` by default.
        val_fraction: share of ``train`` that is set aside for validation, drawn with ``seed``, if ``val`` is not given.
        flip: mirrors half of the training images, anew each epoch.
        num_workers: number of worker processes of each loader.
        seed: seeds the order, the flips and the validation share.
        strict: stops with a DataError at a file that cannot be read.

    Raises:
        ConfigError: if a value cannot work; from the loaders, if their split was not given, or ``train`` has fewer
            images than a batch of all processes.
        DataError: from ``setup`` on, if a path does not exist, is damaged or has no images.
        MissingPackageError: from ``setup`` on, if there is an LMDB directory and the package ``lmdb`` is not installed.

    >>> data = ImageDataModule(val="congress64-val", resolution=32, batch_size=4, num_workers=0)
    >>> batch = next(iter(data.val_dataloader()))
    >>> batch["image"].shape, len(batch["name"])
    (torch.Size([4, 3, 32, 32]), 4)
    """

    def __init__(
        self,
        train: str | list[str] | None = None,
        val: str | list[str] | None = None,
        test: str | list[str] | None = None,
        predict: str | list[str] | None = None,
        resolution: int = 256,
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        val_fraction: float = 0.0,
        flip: bool = True,
        num_workers: int = 2,
        seed: int = 0,
        strict: bool = False,
    ) -> None:
        super().__init__()
        self.paths: dict[Split, str | list[str] | None] = {"train": train, "val": val, "test": test, "predict": predict}
        self.resolution = resolution
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.val_fraction = val_fraction
        self.flip = flip
        self.num_workers = num_workers
        self.seed = seed
        self.strict = strict
        self._check()
        self._datasets: dict[Split, ImageDataset] = {}
        self._start = Position()
        self._stream: TrainSampler | None = None

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | Path | IO[bytes],
        map_location: Any = None,
        hparams_file: str | Path | None = None,
        weights_only: bool | None = True,
        **kwargs: Any,
    ) -> Self:
        """Builds the data module of a run again, at the place where training was.

        The file chooses no code (:mod:`padinv.checkpoints.hyperparameters`).

        Args:
            checkpoint_path: the run's checkpoint, which holds only the place.
            map_location: as for ``torch.load``.
            hparams_file: a YAML file of arguments.
            weights_only: False lets the file run any code that it holds.
            **kwargs: arguments that override the files'.

        Raises:
            CheckpointError: if a file asks for classes.
        """
        if hparams_file is None:
            saved = read_run(checkpoint_path, weights_only).get(cls.CHECKPOINT_HYPER_PARAMS_KEY) or {}
        else:
            saved = load_hparams_from_yaml(hparams_file, use_omegaconf=False)
        arguments = build_arguments(saved, cls, str(hparams_file or checkpoint_path), without=kwargs)
        safe = {**arguments, **kwargs, "_instantiator": None}  # or jsonargparse would build classes
        return super().load_from_checkpoint(checkpoint_path, map_location, weights_only=weights_only, **safe)

    def _check(self) -> None:
        for option in ("resolution", "batch_size", "eval_batch_size", "num_workers", "seed"):
            value, least = getattr(self, option), 0 if option in ("num_workers", "seed") else 1
            if value is not None and value < least:
                raise ConfigError(f"{option} must be at least {least}, and is {value}")
        if self.num_workers > LIMIT_OF_WORKERS:
            raise ConfigError(f"num_workers must be at most {LIMIT_OF_WORKERS}, and is {self.num_workers}")
        for option, paths in self.paths.items():
            if paths is not None and not isinstance(paths, os.PathLike) and not paths:
                raise ConfigError(f"{option} is empty: give a path, a list of paths, or leave it out")
        if not 0 <= self.val_fraction < 1:
            raise ConfigError(f"val_fraction must be at least 0 and less than 1, and is {self.val_fraction}")
        if self.val_fraction and self.paths["val"] is not None:
            raise ConfigError("val and val_fraction exclude each other: give one of them")
        if self.val_fraction and self.paths["train"] is None:
            raise ConfigError("val_fraction is a share of train, which is not given")

    def setup(self, stage: str | None = None) -> None:
        """Indexes the images of the stage's splits, so that a wrong path ends the run before anything is computed."""
        for name in _STAGES[stage] if stage is not None else ("train", "val", "test", "predict"):
            if self._paths(name) is not None:
                self._dataset(name)
        if stage == "fit" and self.trainer is not None and self.trainer.global_step == 0:
            self._start, self._stream = Position(), None  # this module may have served another trainer before

    def _paths(self, name: Split) -> str | list[str] | None:
        return self.paths["train" if name == "val" and self.val_fraction else name]

    def _dataset(self, name: Split) -> ImageDataset:
        if name not in self._datasets:
            paths = self._paths(name)
            if paths is None:
                mend = "set val or val_fraction, or trainer.limit_val_batches=0" if name == "val" else f"set {name}"
                raise ConfigError(f"ImageDataModule was given no images for this: {mend}")
            source = open_source(paths)
            if self.val_fraction and name in ("train", "val"):
                train, val = split(len(source), self.val_fraction, self.seed)
                self._datasets["train"] = ImageDataset(source, self.resolution, train, replace=True)
                self._datasets["val"] = ImageDataset(source, self.resolution, val)
            else:
                self._datasets[name] = ImageDataset(source, self.resolution, replace=name == "train")
        return self._datasets[name]

    def train_dataloader(self) -> ImageLoader:
        """Shuffled, full batches of ``batch_size`` images, from the place that training has reached."""
        dataset = self._dataset("train")
        replicas, rank = self._processes()
        start = self._position() if self.trainer is not None else self._start
        self._stream = TrainSampler(len(dataset), self.batch_size, replicas, rank, self.seed, self.flip, start)
        return self._loader(dataset, self._stream, self.batch_size)

    def val_dataloader(self) -> ImageLoader:
        """The validation images in order, each once."""
        return self._eval_loader("val")

    def test_dataloader(self) -> ImageLoader:
        """The test images in order, each once."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> ImageLoader:
        """The images to predict in order, each once."""
        return self._eval_loader("predict")

    def _eval_loader(self, name: Split) -> ImageLoader:
        dataset = self._dataset(name)
        sampler = EvalSampler(len(dataset), *self._processes())
        return self._loader(dataset, sampler, self.eval_batch_size or self.batch_size)

    def _loader(self, dataset: ImageDataset, sampler: TrainSampler | EvalSampler, batch_size: int) -> ImageLoader:
        return ImageLoader(
            dataset,
            strict=self.strict,
            sampler=sampler,
            batch_size=batch_size,
            drop_last=isinstance(sampler, TrainSampler),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,  # to start them anew each epoch takes seconds
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
        )

    def _processes(self) -> tuple[int, int]:
        if self.trainer is not None:
            return self.trainer.world_size, self.trainer.global_rank
        if dist.is_available() and dist.is_initialized():
            return dist.get_world_size(), dist.get_rank()
        return 1, 0

    def _position(self) -> Position:
        if self._stream is None:
            return self._start
        if self.trainer is not None:
            # A batch that was handed out but not trained on, because the run was stopped within it, comes again.
            progress = self.trainer.fit_loop.epoch_loop.batch_progress.current
            if progress.ready > progress.processed:  # type: ignore[attr-defined]  # declared as its base class
                return self._stream.previous
        return self._stream.position

    def state_dict(self) -> dict[str, Any]:
        """How far training has come: ``epoch``, and ``offset``, the images of it that all processes are done with."""
        return dict(self._position()._asdict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Sets the place from which the next ``train_dataloader`` goes on."""
        self._start, self._stream = Position(state_dict["epoch"], state_dict["offset"]), None
