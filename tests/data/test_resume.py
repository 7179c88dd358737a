"""A run that was stopped and resumed sees the images that it would have seen."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from fitting import quiet_trainer
from image_files import write_folder
from padinv.data import ImageDataModule

IMAGES, BATCH, EPOCHS = 22, 4, 3  # five batches an epoch, and two images that are dropped
PER_EPOCH = IMAGES // BATCH
LAST = "saved/last.ckpt"

pytestmark = [
    # Lightning advises more workers, and most tests use none, to be fast.
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    # Lightning 2.6.6 calls what torch 2.14 deprecates.
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    # Said of the folder that a run is resumed from and goes on saving to.
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]


class StoppedError(Exception):
    """The run ends here, as if the machine had."""


class Recorder(LightningModule):
    """Trains a number, by one or by two optimizers, and keeps what it is given."""

    def __init__(self, manual: bool = False) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)])
        self.automatic_optimization = not manual
        self.seen: list[str] = []
        self.images: list[torch.Tensor] = []

    def configure_optimizers(self) -> Any:
        optimizers = [torch.optim.SGD(layer.parameters(), 0.1) for layer in self.layers]
        return optimizers[0] if self.automatic_optimization else optimizers

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor | None:
        self.seen += [Path(name).name for name in batch["name"]]
        self.images.append(batch["image"])
        losses = [layer(batch["image"].mean().view(1, 1)).sum() for layer in self.layers]
        if self.automatic_optimization:
            return losses[0]
        for optimizer, loss in zip(self.optimizers(), losses, strict=True):
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        return None

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        pass


class StopAt(Callback):
    """Stops in a batch or at its end, counted over the run, by an exception or as early stopping does."""

    def __init__(self, batches: int, where: str) -> None:
        self.batches, self.where, self.count = batches, where, 0

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.count += 1
        if self.count > self.batches:
            if self.where == "save in batch":
                trainer.save_checkpoint(Path(trainer.default_root_dir) / LAST)
            raise StoppedError

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if self.count == self.batches:
            if self.where == "save at end of batch":
                trainer.save_checkpoint(Path(trainer.default_root_dir) / LAST)
                raise StoppedError
            if self.where == "should_stop":
                trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        if self.where == "save in validation" and self.count == self.batches:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / LAST)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pictures", IMAGES)


def run(
    folder: Path,
    manual: bool = False,
    callbacks: list[Callback] | None = None,
    ckpt_path: Path | None = None,
    data: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Recorder, Trainer]:
    model = Recorder(manual)
    trainer = quiet_trainer(*(callbacks or []), **{"default_root_dir": folder.parent, "max_epochs": EPOCHS, **options})
    settings = {"resolution": 8, "batch_size": BATCH, "num_workers": 0, "val": str(folder), **(data or {})}
    module = ImageDataModule(train=str(folder), **settings)
    with contextlib.suppress(StoppedError):
        trainer.fit(model, datamodule=module, ckpt_path=ckpt_path)
    return model, trainer


@pytest.fixture
def whole(folder: Path) -> Recorder:
    model, _ = run(folder)
    assert len(model.seen) == EPOCHS * PER_EPOCH * BATCH
    return model


@pytest.mark.parametrize("manual", [False, True], ids=["automatic", "manual"])
@pytest.mark.parametrize("where", ["save at end of batch", "save in batch", "save in validation"])
@pytest.mark.parametrize("batches", [1, 3, 5, 7, 10, 12])
def test_saved_by_save_checkpoint(folder: Path, whole: Recorder, where: str, batches: int, manual: bool) -> None:
    validate = {"val_check_interval": 1} if where == "save in validation" else {}
    run(folder, manual, [StopAt(batches, where)], **validate)
    resumed, _ = run(folder, manual, ckpt_path=folder.parent / LAST, **validate)
    assert resumed.seen == whole.seen[batches * BATCH :]
    assert all(torch.equal(a, b) for a, b in zip(resumed.images, whole.images[batches:], strict=True))  # flips too


# Lightning 2.6.6 says that the weights saved are those after the step: they are meant to be.
@pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization")
@pytest.mark.parametrize("manual", [False, True], ids=["automatic", "manual"])
@pytest.mark.parametrize("every", [2, 4])
@pytest.mark.parametrize("batches", [6, 11])
def test_saved_by_model_checkpoint_every_few_steps(
    folder: Path, whole: Recorder, every: int, batches: int, manual: bool
) -> None:
    def checkpoint() -> ModelCheckpoint:
        return ModelCheckpoint(folder.parent / "saved", "last", every_n_train_steps=every, enable_version_counter=False)

    run(folder, manual, [checkpoint(), StopAt(batches, "in batch")])
    saved = torch.load(folder.parent / LAST, weights_only=True)["global_step"] // (2 if manual else 1)
    resumed, _ = run(folder, manual, [checkpoint()], ckpt_path=folder.parent / LAST)
    assert 0 < saved <= batches
    assert resumed.seen == whole.seen[saved * BATCH :]


@pytest.mark.parametrize("limit", ["max_epochs", "max_steps"])
@pytest.mark.parametrize("on_train_epoch_end", [True, False])
def test_saved_at_the_end_of_an_epoch(folder: Path, whole: Recorder, on_train_epoch_end: bool, limit: str) -> None:
    def until(epochs: int) -> dict[str, int]:
        return {"max_epochs": epochs} if limit == "max_epochs" else {"max_epochs": -1, "max_steps": epochs * PER_EPOCH}

    def checkpoint() -> ModelCheckpoint:
        options = {"save_on_train_epoch_end": on_train_epoch_end, "enable_version_counter": False}
        return ModelCheckpoint(folder.parent / "saved", "last", **options)

    first, _ = run(folder, callbacks=[checkpoint()], **until(1))
    resumed, _ = run(folder, callbacks=[checkpoint()], ckpt_path=folder.parent / LAST, **until(EPOCHS))
    assert first.seen + resumed.seen == whole.seen


@pytest.mark.parametrize("stop", ["should_stop", "max_steps"])
def test_stopped_inside_an_epoch_by_a_budget(folder: Path, whole: Recorder, stop: str) -> None:
    """Lightning then counts the epoch as complete; the images that are left of it are not lost."""
    if stop == "should_stop":
        first, trainer = run(folder, callbacks=[StopAt(7, stop)])
    else:
        first, trainer = run(folder, max_steps=7)
    trainer.save_checkpoint(folder.parent / LAST)
    resumed, _ = run(folder, ckpt_path=folder.parent / LAST, max_epochs=EPOCHS + 1)
    assert first.seen == whole.seen[: 7 * BATCH]
    assert resumed.seen[: 8 * BATCH] == whole.seen[7 * BATCH :]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_prefetching_workers(folder: Path, whole: Recorder, num_workers: int) -> None:
    workers = {"num_workers": num_workers}
    run(folder, callbacks=[StopAt(6, "save at end of batch")], data=workers)
    resumed, _ = run(folder, ckpt_path=folder.parent / LAST, data=workers)
    assert resumed.seen == whole.seen[6 * BATCH :]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_another_batch_size_goes_on_with_the_next_image(folder: Path, batch_size: int) -> None:
    stopped, _ = run(folder, callbacks=[StopAt(2, "save at end of batch")])
    resumed, _ = run(folder, ckpt_path=folder.parent / LAST, data={"batch_size": batch_size})
    order, _ = run(folder, data={"batch_size": 1}, max_epochs=1)
    rest = (IMAGES - 2 * BATCH) // batch_size * batch_size
    assert stopped.seen == order.seen[: 2 * BATCH]
    assert resumed.seen[:rest] == order.seen[2 * BATCH : 2 * BATCH + rest]


def test_checkpoint_of_two_processes_is_resumed_by_one(folder: Path, whole: Recorder) -> None:
    """Rank 0 of two trains on half of each global batch; the position that it saves counts the whole."""
    first = ImageDataModule(train=str(folder), resolution=8, batch_size=BATCH // 2, num_workers=0)
    first._processes = lambda: (2, 0)  # type: ignore[method-assign]
    loader = first.train_dataloader()
    taken = [name for _ in range(2) for batch in loader for name in batch["name"]]  # two epochs
    assert [Path(name).name for name in taken] == whole.seen[: 2 * PER_EPOCH * BATCH : 2]
    next(iter(loader))
    assert first.state_dict() == {"epoch": 2, "offset": BATCH}
    second = ImageDataModule(train=str(folder), resolution=8, batch_size=BATCH, num_workers=0)
    second.load_state_dict(first.state_dict())
    names = [Path(name).name for name in next(iter(second.train_dataloader()))["name"]]
    assert names == whole.seen[(2 * PER_EPOCH + 1) * BATCH :][:BATCH]


def test_limited_epochs_walk_through_the_data(folder: Path, whole: Recorder) -> None:
    limited, _ = run(folder, limit_train_batches=2, max_epochs=5)
    assert limited.seen == whole.seen[: 10 * BATCH]


def test_reloading_the_loader_goes_on(folder: Path, whole: Recorder) -> None:
    reloaded, _ = run(folder, reload_dataloaders_every_n_epochs=1)
    assert reloaded.seen == whole.seen


def test_fitting_twice_goes_on(folder: Path, whole: Recorder) -> None:
    model, trainer = run(folder, max_epochs=1)
    trainer.fit_loop.max_epochs = EPOCHS
    trainer.fit(model, datamodule=trainer.datamodule)
    assert model.seen == whole.seen


def test_state_is_plain_numbers(folder: Path) -> None:
    run(folder, callbacks=[StopAt(6, "save at end of batch")])
    checkpoint = torch.load(folder.parent / LAST, weights_only=True)
    assert checkpoint["ImageDataModule"] == {"epoch": 1, "offset": BATCH}


class WriteNames(Callback):
    """Notes, for each process, what it is given; saves in the second epoch and stops."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def note(self, trainer: Trainer, what: str, batch: dict[str, Any]) -> None:
        with (self.folder / f"{what}{trainer.global_rank}.txt").open("a") as file:
            file.writelines(f"{Path(name).name}\n" for name in batch["name"])

    def on_train_batch_end(self, trainer: Trainer, _: Any, __: Any, batch: dict[str, Any], batch_idx: int) -> None:
        self.note(trainer, "train", batch)
        if trainer.current_epoch == 1 and batch_idx == 2:
            trainer.save_checkpoint(self.folder / LAST)
            trainer.should_stop = True

    def on_validation_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.current_epoch == 0:
            self.note(trainer, "val", args[2])

    def names(self, what: str, rank: int) -> list[str]:
        return (self.folder / f"{what}{rank}.txt").read_text().split()


@pytest.mark.ddp
@pytest.mark.forks
def test_two_processes_and_then_one(folder: Path, whole: Recorder) -> None:
    notes = WriteNames(folder.parent)
    uneven = write_folder(folder.parent / "uneven", 9)  # five and four images: three batches and two
    data = {"batch_size": BATCH // 2, "val": str(uneven)}
    run(folder, callbacks=[notes], data=data, strategy="ddp_fork_find_unused_parameters_true", devices=2)
    batches = PER_EPOCH + 3
    for rank in range(2):
        assert notes.names("train", rank) == whole.seen[: batches * BATCH][rank::2]
    assert sorted(notes.names("val", 0) + notes.names("val", 1)) == [f"{i:04}.png" for i in range(9)]
    resumed, _ = run(folder, ckpt_path=folder.parent / LAST)
    assert resumed.seen == whole.seen[batches * BATCH :]
