from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser
from pytorch_lightning import LightningDataModule, LightningModule, Trainer

from fitting import quiet_trainer
from image_files import encode, picture, write_folder, write_lmdb, write_zip
from padinv.data import ImageDataModule, ImageLoader, UnreadableImageWarning
from padinv.exceptions import ConfigError, DataError

SPLITS = ["train", "val", "test", "predict"]

pytestmark = [
    # Lightning advises more workers, and tests use none, to be fast.
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    # Lightning 2.6.6 calls what torch 2.14 deprecates.
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]


def names(loader: ImageLoader) -> list[str]:
    return [name for batch in loader for name in batch["name"]]


def module(**options: object) -> ImageDataModule:
    return ImageDataModule(**{"resolution": 8, "batch_size": 4, "num_workers": 0, **options})


class Recorder(LightningModule):
    """Keeps the names it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: dict[str, list[str]] = {split: [] for split in SPLITS}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)

    def training_step(self, batch: dict[str, object], batch_idx: int) -> torch.Tensor:
        self.seen["train"] += batch["name"]
        return self.layer(batch["image"].mean().view(1, 1)).sum()

    def validation_step(self, batch: dict[str, object], batch_idx: int) -> None:
        self.seen["val"] += batch["name"]

    def test_step(self, batch: dict[str, object], batch_idx: int) -> None:
        self.seen["test"] += batch["name"]

    def predict_step(self, batch: dict[str, object], batch_idx: int) -> list[str]:
        self.seen["predict"] += batch["name"]
        return batch["name"]


def trainer(tmp_path: Path, **options: object) -> Trainer:
    return quiet_trainer(**{"default_root_dir": tmp_path, **options})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pictures", 10)


def test_training_batches(folder: Path) -> None:
    batches = list(module(train=str(folder), resolution=16).train_dataloader())
    assert [batch["image"].shape for batch in batches] == [(4, 3, 16, 16)] * 2  # the last two images are dropped
    for batch in batches:
        assert batch["image"].dtype == torch.float32
        assert batch["image"].min() >= -1
        assert batch["image"].max() == 1  # the white stripe


def test_flip_is_for_training_only(folder: Path) -> None:
    def sides(loader: ImageLoader) -> set[bool]:
        return {bool(image[2, 0, 0] < image[2, 0, -1]) for batch in loader for image in batch["image"]}

    data = module(train=str(folder), val=str(folder))
    assert sides(data.train_dataloader()) == {True, False}
    assert sides(data.val_dataloader()) == {False}
    assert sides(module(train=str(folder), flip=False).train_dataloader()) == {False}


def test_every_kind_of_source_for_every_split(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures", 4)
    archive = write_zip(tmp_path / "a.zip", {"x.png": encode(picture(1))})
    database = write_lmdb(tmp_path / "lmdb", {"k": encode(picture(2), "WEBP")})
    paths = [str(folder), str(archive), str(database), str(folder / "0000.png")]
    data = module(train=paths, val=paths, test=paths, predict=paths)
    expected = [*(f"{folder}/000{i}.png" for i in range(4)), f"{archive}/x.png", f"{database}/k", f"{folder}/0000.png"]
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        assert names(loader) == expected
    assert set(names(data.train_dataloader())) <= set(expected)


def test_eval_batch_size(folder: Path) -> None:
    assert [len(b["name"]) for b in module(val=str(folder)).val_dataloader()] == [4, 4, 2]
    assert [len(b["name"]) for b in module(val=str(folder), eval_batch_size=7).val_dataloader()] == [7, 3]


def test_val_fraction_divides_train(folder: Path) -> None:
    def divided(seed: int) -> tuple[set[str], set[str]]:
        data = module(train=str(folder), val_fraction=0.3, batch_size=1, seed=seed)
        return set(names(data.train_dataloader())), set(names(data.val_dataloader()))

    train, val = divided(seed=0)
    assert (len(train), len(val)) == (7, 3)
    assert train | val == {f"{folder}/000{i}.png" for i in range(10)}
    assert divided(seed=0) == (train, val)
    assert divided(seed=1) != (train, val)


def test_seed_orders_the_training_images(folder: Path) -> None:
    orders = [names(module(train=str(folder), seed=seed).train_dataloader()) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_bundled_data_sets() -> None:
    data = module(train="congress64-train", val="congress64-val", resolution=64, batch_size=32)
    assert names(data.train_dataloader())[0].rsplit("/", 2)[1] == "congress64-train.zip"
    assert len(names(data.val_dataloader())) == 32


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"resolution": 0}, "resolution"),
        ({"batch_size": 0}, "batch_size"),
        ({"eval_batch_size": 0}, "eval_batch_size"),
        ({"num_workers": -1}, "num_workers"),
        ({"seed": -1}, "seed"),
        ({"val_fraction": 1.0, "train": "x"}, "val_fraction"),
        ({"val_fraction": -0.1, "train": "x"}, "val_fraction"),
        ({"val_fraction": 0.1, "train": "x", "val": "y"}, "val and val_fraction"),
        ({"val_fraction": 0.1}, "train, which is not given"),
        ({"train": ""}, "train is empty"),
        ({"predict": []}, "predict is empty"),
    ],
)
def test_values_that_cannot_work(options: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        module(**options)


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_that_was_not_given(folder: Path, split: str) -> None:
    data = module(**{other: str(folder) for other in SPLITS if other != split})
    with pytest.raises(ConfigError, match=f"set {split}"):
        getattr(data, f"{split}_dataloader")()


def test_fewer_images_than_a_batch(folder: Path) -> None:
    with pytest.raises(ConfigError, match="lower batch_size"):
        module(train=str(folder), batch_size=11).train_dataloader()


@pytest.mark.parametrize(("stage", "split"), [("fit", "train"), ("fit", "val"), ("validate", "val"), ("test", "test")])
def test_setup_finds_wrong_paths_early(tmp_path: Path, stage: str, split: str) -> None:
    with pytest.raises(DataError, match="nowhere does not exist"):
        module(**{split: str(tmp_path / "nowhere")}).setup(stage)


def test_setup_leaves_other_stages_alone(folder: Path, tmp_path: Path) -> None:
    module(train=str(folder), test=str(tmp_path / "nowhere")).setup("fit")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_loader_options(folder: Path, num_workers: int) -> None:
    data = module(train=str(folder), val=str(folder), num_workers=num_workers)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        assert loader.num_workers == num_workers
        assert loader.persistent_workers == (num_workers > 0)
        assert not loader.pin_memory


def test_the_command_line_can_configure_it(folder: Path) -> None:
    parser = ArgumentParser()
    parser.add_subclass_arguments(LightningDataModule, "data")
    config = parser.parse_args(
        [
            "--data=padinv.data.ImageDataModule",
            f"--data.train=['{folder}']",
            f"--data.val={folder}",
            "--data.batch_size=5",
            "--data.num_workers=0",
            "--data.resolution=8",
        ]
    )
    data = ImageDataModule(**config.data.init_args.as_dict())
    assert len(names(data.train_dataloader())) == len(names(data.val_dataloader())) == 10
    with pytest.raises(SystemExit):
        parser.parse_args(["--data=padinv.data.ImageDataModule", "--data.batch_size=many"])


@pytest.mark.parametrize("given", ["module", "loader"])
@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_evaluation_under_a_trainer(folder: Path, tmp_path: Path, stage: str, given: str) -> None:
    (folder / "0000.png").write_bytes(b"")
    split = {"validate": "val"}.get(stage, stage)
    data, model = module(**{split: str(folder)}, batch_size=1), Recorder()
    source = {"datamodule": data} if given == "module" else {"dataloaders": getattr(data, f"{split}_dataloader")()}
    with pytest.warns(UnreadableImageWarning, match=r"0000\.png"):
        getattr(trainer(tmp_path), stage)(model, **source)
    assert model.seen[split] == [f"{folder}/000{i}.png" for i in range(1, 10)]


def test_strict_under_a_trainer_that_rebuilds_the_loader(folder: Path, tmp_path: Path) -> None:
    (folder / "0003.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"0003\.png cannot be read: the file is empty"):
        trainer(tmp_path).predict(Recorder(), datamodule=module(predict=str(folder), strict=True))


def test_fit_trains_on_each_epoch_and_validates(folder: Path, tmp_path: Path) -> None:
    data, model = module(train=str(folder), val=str(folder), batch_size=5), Recorder()
    trainer(tmp_path, max_epochs=3, num_sanity_val_steps=0).fit(model, datamodule=data)
    everything = [f"{folder}/000{i}.png" for i in range(10)]
    epochs = [model.seen["train"][i : i + 10] for i in (0, 10, 20)]
    assert [sorted(epoch) for epoch in epochs] == [everything] * 3
    assert epochs[0] != epochs[1] != epochs[2]
    assert model.seen["val"] == everything * 3


def test_fit_without_validation_images(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"set val or val_fraction, or trainer\.limit_val_batches=0"):
        trainer(tmp_path, max_epochs=1).fit(Recorder(), datamodule=module(train=str(folder)))
    model = Recorder()
    trainer(tmp_path, max_epochs=1, limit_val_batches=0).fit(model, datamodule=module(train=str(folder)))
    assert len(model.seen["train"]) == 8


@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"max_epochs": 1}])
def test_a_module_that_served_before_begins_at_the_beginning(
    folder: Path, tmp_path: Path, options: dict[str, object]
) -> None:
    data = module(train=str(folder), val=str(folder))
    runs = []
    for _ in range(2):
        model = Recorder()
        trainer(tmp_path, **options).fit(model, datamodule=data)
        runs.append(model.seen["train"])
    assert runs[0] == runs[1]


@pytest.mark.filterwarnings(
    "ignore:You requested to overfit but enabled"
)  # Lightning says that it replaces the sampler
def test_overfit_batches(folder: Path, tmp_path: Path) -> None:
    data, model = module(train=str(folder), val=str(folder)), Recorder()
    trainer(tmp_path, overfit_batches=1, max_epochs=2).fit(model, datamodule=data)
    assert len(set(model.seen["train"])) == 4


@pytest.mark.parametrize("world", [1, 2, 3])
def test_loaders_of_all_ranks_cover_the_evaluation_set_once(
    folder: Path, world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_rank(rank: int, loader: Callable[[ImageDataModule], ImageLoader]) -> list[str]:
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
        return names(loader(module(train=str(folder), val=str(folder), batch_size=2)))

    val = [name for rank in range(world) for name in of_rank(rank, ImageDataModule.val_dataloader)]
    assert sorted(val) == [f"{folder}/000{i}.png" for i in range(10)]
    train = [name for rank in range(world) for name in of_rank(rank, ImageDataModule.train_dataloader)]
    assert len(train) == len(set(train)) == 10 // (2 * world) * 2 * world
