import tracemalloc
import warnings
from pathlib import Path

import pytest
import torch

from colour_profiles import rgb_profile
from image_files import BROKEN, encode, noise, picture, write_folder, write_lmdb, write_zip
from padinv.data import ImageLoader, UnreadableImageWarning
from padinv.data.dataset import ImageDataset
from padinv.data.sampler import EvalSampler, TrainSampler
from padinv.exceptions import DataError
from padinv.images import ImageWarning, load_tensor, square, to_image, to_tensor
from padinv.inversion import read_photographs
from padinv.sources.opening import open_source


def loader(
    path: Path | list[Path], train: bool = False, batch_size: int = 2, strict: bool = False, **options: object
) -> ImageLoader:
    dataset = ImageDataset(open_source(path), 8, replace=train)
    sampler = TrainSampler(len(dataset), batch_size) if train else EvalSampler(len(dataset))
    return ImageLoader(dataset, strict=strict, sampler=sampler, batch_size=batch_size, drop_last=train, **options)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Six readable images, one of a single pixel, and four that are broken."""
    write_folder(tmp_path / "pictures", 5)
    (tmp_path / "pictures" / "pixel.png").write_bytes(encode(picture(0, (1, 1))))
    for name, data in BROKEN.items():
        (tmp_path / "pictures" / name).write_bytes(data)
    return tmp_path / "pictures"


def reported(record: list[warnings.WarningMessage]) -> list[str]:
    return [str(w.message) for w in record if w.category is UnreadableImageWarning]


def test_batches(tmp_path: Path) -> None:
    batches = list(loader(write_folder(tmp_path / "pictures", 5)))
    assert [batch["image"].shape for batch in batches] == [(2, 3, 8, 8), (2, 3, 8, 8), (1, 3, 8, 8)]
    assert batches[0]["image"].dtype == torch.float32
    assert [name for batch in batches for name in batch["name"]] == [
        f"{tmp_path}/pictures/000{i}.png" for i in range(5)
    ]
    assert list(batches[0]) == ["image", "name"]


@pytest.mark.parametrize("kind", ["folder", "zip", "lmdb"])
def test_training_sees_the_colours_that_inversion_sees(tmp_path: Path, kind: str) -> None:
    data = encode(noise((24, 16)), icc_profile=rgb_profile("Display P3"))
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
        (path / "a.png").write_bytes(data)
    else:
        (write_zip if kind == "zip" else write_lmdb)(path, {"a.png": data})
    (batch,) = loader(path)
    (tmp_path / "b.png").write_bytes(data)
    (photograph,), _ = read_photographs(tmp_path / "b.png")
    assert torch.equal(batch["image"][0], to_tensor(square(to_image(photograph), 8)))
    plain = load_tensor(encode(noise((24, 16))), 8)
    assert (batch["image"][0] - plain).abs().max() > 0.02


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_profile_is_told_once_and_the_image_kept(tmp_path: Path, workers: int) -> None:
    folder = write_folder(tmp_path / "pictures", 2)
    picture(1).save(folder / "0001.png", icc_profile=b"no profile")
    images = loader(folder, strict=True, num_workers=workers, persistent_workers=workers > 0)
    with pytest.warns(ImageWarning) as record:
        epochs = [list(images) for _ in range(3)]
    assert [len(batch["image"]) for (batch,) in epochs] == [2, 2, 2]
    # Python 3.12 and later warn of forks, too.
    (warning,) = (warning for warning in record if issubclass(warning.category, ImageWarning))
    assert str(warning.message).startswith(f"{folder}/0001.png: its colour profile cannot be used (")


@pytest.mark.parametrize("train", [True, False])
def test_workers_change_nothing(tmp_path: Path, train: bool) -> None:
    folder = write_folder(tmp_path / "pictures", 21)
    alone, workers = loader(folder, train), loader(folder, train, num_workers=2, persistent_workers=True)
    for _ in range(2):  # epochs
        for one, other in zip(alone, workers, strict=True):
            assert one["name"] == other["name"]
            assert torch.equal(one["image"], other["image"])


def test_spawned_worker_reads_every_kind_of_source(tmp_path: Path) -> None:
    images = {f"{i}.png": encode(picture(i)) for i in range(2)}
    folder = write_folder(tmp_path / "folder", 2)
    paths = [folder, write_zip(tmp_path / "zip", images), write_lmdb(tmp_path / "lmdb", images)]
    expected = list(loader(paths))  # this process opens the same files first
    spawned = list(loader(paths, num_workers=1, multiprocessing_context="spawn"))
    assert [batch["name"] for batch in spawned] == [batch["name"] for batch in expected]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(spawned, expected, strict=True))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_leaves_unreadable_files_out(broken: Path, num_workers: int) -> None:
    batches = loader(broken, num_workers=num_workers)
    with pytest.warns(UnreadableImageWarning) as record:
        names = [Path(name).name for batch in batches for name in batch["name"]]
    assert names == [f"000{i}.png" for i in range(5)] + ["pixel.png"]
    assert len(reported(record)) == len(BROKEN)
    for name in BROKEN:
        assert sum(f"{broken}/{name} cannot be read: " in message for message in reported(record)) == 1
    assert len(list(batches)) > 0  # and no warning the second time: it would be an error


def test_a_batch_of_which_nothing_is_left(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures", 5)
    for number in (2, 3):
        (folder / f"000{number}.png").write_bytes(b"")
    with pytest.warns(UnreadableImageWarning):
        batches = list(loader(folder))
    assert [len(batch["name"]) for batch in batches] == [2, 1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_batches_stay_full(broken: Path, num_workers: int) -> None:
    batches = loader(broken, train=True, batch_size=5, num_workers=num_workers)
    with pytest.warns(UnreadableImageWarning) as record:
        shapes = [batch["image"].shape for batch in batches]
    assert shapes == [(5, 3, 8, 8)] * 2
    assert len(reported(record)) == len(BROKEN)
    assert len(list(batches)) == 2  # the next epoch is silent


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("name", BROKEN)
def test_strict_stops_at_the_file(broken: Path, name: str, train: bool, num_workers: int) -> None:
    for other in set(BROKEN) - {name}:
        (broken / other).unlink()
    with pytest.raises(DataError, match=f"^{broken}/{name} cannot be read: .*; strict=false skips such files$"):
        list(loader(broken, train, batch_size=7, strict=True, num_workers=num_workers))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_nothing_to_train_on(tmp_path: Path, num_workers: int) -> None:
    for name, data in BROKEN.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=f"no readable image was found to train on: {tmp_path}"):
        list(loader(tmp_path, train=True, num_workers=num_workers))


def test_nothing_to_evaluate(tmp_path: Path) -> None:
    for name, data in BROKEN.items():
        (tmp_path / name).write_bytes(data)
    with (
        pytest.warns(UnreadableImageWarning),
        pytest.raises(DataError, match=f"not one image could be read: {tmp_path}/bomb.png"),
    ):
        list(loader(tmp_path))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_counts_what_it_hands_out_not_what_workers_prefetch(tmp_path: Path, num_workers: int) -> None:
    batches = loader(write_folder(tmp_path / "pictures", 12), train=True, num_workers=num_workers)
    taken = iter(batches)
    next(taken)
    next(taken)
    assert batches.sampler.position == (0, 4)
    assert batches.sampler.previous == (0, 2)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_iteration_that_was_broken_off_is_continued(tmp_path: Path, num_workers: int) -> None:
    folder = write_folder(tmp_path / "pictures", 12)
    whole = [batch["name"] for batch in loader(folder, train=True)]
    batches = loader(folder, train=True, num_workers=num_workers, persistent_workers=num_workers > 0)
    first = [batch["name"] for batch, _ in zip(batches, range(2), strict=False)]  # takes a third one and drops it
    assert first == whole[:2]
    assert next(iter(batches))["name"] == whole[3]


def test_memory_does_not_grow_with_the_images_read(tmp_path: Path) -> None:
    data = encode(noise((64, 64)), "PNG")
    path = write_zip(tmp_path / "a.zip", {f"{i:03}.png": data for i in range(200)})

    def peak(batches: ImageLoader, count: int) -> int:
        tracemalloc.start()
        for _ in zip(range(count), batches, strict=False):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(loader(path), 200)  # imports, and names of attributes in caches of Python's
    assert peak(loader(path), 100) < peak(loader(path), 5) + 2 * len(data)
    assert len(data) > 10_000  # small beside the 200 that could have been held
