from pathlib import Path

import numpy as np
import pytest
import torch

from image_files import encode, picture, write_folder
from padinv.data import dataset as module
from padinv.data.dataset import ImageDataset, collate, split
from padinv.exceptions import DataError
from padinv.images import load_tensor
from padinv.sources.opening import open_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pictures", 5)


def test_samples_are_images_by_number_and_flip(folder: Path) -> None:
    dataset = ImageDataset(open_source(folder), 8, indices=np.array([3, 1]))
    assert len(dataset) == 2
    assert dataset[1].name == f"{folder}/0001.png"
    expected = load_tensor(encode(picture(1)), 8)
    assert torch.equal(dataset[1].image, expected)
    assert torch.equal(dataset[1, True].image, expected.flip(-1))
    assert not torch.equal(dataset[1, True].image, expected)


@pytest.mark.parametrize("replace", [True, False])
def test_an_unreadable_image_is_replaced_or_missing(folder: Path, replace: bool) -> None:
    for number in (4, 0):
        (folder / f"000{number}.png").write_text("no image")
    dataset = ImageDataset(open_source(folder), 8, replace=replace)
    sample = dataset[4, True]
    if replace:  # the next one, from the end on to the beginning
        assert sample.name == f"{folder}/0001.png"
        assert torch.equal(sample.image, load_tensor(encode(picture(1)), 8, flip=True))
        assert sample.problems == tuple(f"{folder}/000{n}.png cannot be read: it is not an image" for n in (4, 0))
    else:
        assert sample.image is None
        assert sample.problems == (f"{folder}/0004.png cannot be read: it is not an image",)


def test_a_file_that_is_gone(folder: Path) -> None:
    dataset = ImageDataset(open_source(folder), 8)
    (folder / "0002.png").unlink()
    assert dataset[2].problems == (f"{folder}/0002.png cannot be read: No such file or directory",)


def test_the_search_for_a_replacement_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        (folder / f"000{number}.png").write_bytes(b"")
    dataset = ImageDataset(open_source(folder), 8, replace=True)
    assert dataset[0].name == f"{folder}/0003.png"
    monkeypatch.setattr(module, "MAX_IN_A_ROW", 2)
    assert dataset[0].image is None
    assert len(dataset[0].problems) == 2


def test_collate_leaves_out_what_is_missing(folder: Path) -> None:
    (folder / "0001.png").write_bytes(b"")
    dataset = ImageDataset(open_source(folder), 8)
    batch = collate([dataset[0], dataset[1], dataset[2]])
    assert batch.image.shape == (2, 3, 8, 8)
    assert batch.name == [f"{folder}/0000.png", f"{folder}/0002.png"]
    assert batch.missing == 1
    assert collate([dataset[1]]).name == []


def test_split_is_seeded_and_complete() -> None:
    train, val = split(100, 0.25, seed=1)
    assert (len(train), len(val)) == (75, 25)
    assert sorted([*train, *val]) == list(range(100))
    assert np.array_equal(val, split(100, 0.25, seed=1)[1])
    assert not np.array_equal(val, split(100, 0.25, seed=2)[1])
    assert len(split(3, 0.01, seed=0)[1]) == 1


def test_split_leaves_something_to_train_on() -> None:
    with pytest.raises(DataError, match="val_fraction"):
        split(1, 0.5, seed=0)
