from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from padinv.checkpoints.pickles.arrays import read_arrays
from padinv.exceptions import CheckpointError

ARRAY = np.random.default_rng(0).standard_normal((2, 3))


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this must not be printed",)


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "<i4", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpy(tmp_path: Path, dtype: str, order: str) -> None:
    array = np.asarray(ARRAY.astype(dtype), order=order)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", one=array, two=np.array({"three": array}))
    np.savez_compressed(tmp_path / "b.npz", one=array)
    expected = torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    assert torch.equal(read_arrays(tmp_path / "a.npy"), expected)
    read = read_arrays(tmp_path / "a.npz")
    assert torch.equal(read["one"], expected)
    assert torch.equal(read["two"]["three"], expected)
    assert torch.equal(read_arrays(tmp_path / "b.npz")["one"], expected)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_dictionaries(tmp_path: Path, protocol: int) -> None:
    content = {"a": ARRAY, "b": [torch.ones(2), {"c": 1.5, "d": "text"}], "e": Harmful, "f": np.float32(2)}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({**content, "b": content["b"][1:]}, protocol))
    np.save(tmp_path / "a.npy", np.array({**content, "b": content["b"][1:]}))
    torch.save(content, tmp_path / "a.pt", pickle_protocol=protocol)
    torch.save(content, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    for name in ("a.pkl", "a.npy", "a.pt", "b.pt"):
        read = read_arrays(tmp_path / name)
        assert torch.equal(read["a"], torch.from_numpy(ARRAY))
        assert read["b"][-1] == {"c": 1.5, "d": "text"}
        assert read["e"] is None
        assert read["f"] == 2


@pytest.mark.parametrize("name", ["a.npy", "a.pkl", "a.pt", "a.npz"])
def test_nothing_is_run(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    content = {"w": ARRAY, "harm": Harmful()}
    path = tmp_path / name
    if name == "a.pt":
        torch.save(content, path)
    elif name == "a.pkl":
        path.write_bytes(pickle.dumps(content))
    elif name == "a.npy":
        np.save(path, np.array(content))
    else:
        np.savez(path, **{key: np.array(value, dtype=object) for key, value in content.items()})
    read_arrays(path)
    assert capfd.readouterr().out == ""


def damaged(folder: Path, name: str) -> Path:
    path = folder / name
    if name == "bomb.npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.npy", bytes(2**27))
    elif name == "cut.npz":
        np.savez(path, a=np.ones(1000))
        path.write_bytes(path.read_bytes()[:2000])
    elif name == "claims.npy":
        np.save(path, np.ones(4))
        path.write_bytes(path.read_bytes().replace(b"(4,), }", b"(4000000000,), }"[:16]))
    elif name == "words.npy":
        np.save(path, np.array(["a"]))
    elif name == "records.npy":
        np.save(path, np.zeros(2, [("é", "f4")]))
    elif name == "deep.npy":
        nested: dict[str, Any] = {}
        for _ in range(100):
            nested = {"a": nested}
        np.save(path, np.array(nested))
    elif name != "nothing.npy":
        path.write_bytes({"empty.npy": b"", "text.npy": b"hello, this is text", "page.pt": b"<!doctype html>"}[name])
    return path


@pytest.mark.filterwarnings("ignore:Stored array in format")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bomb.npz", "it would unpack to more than"),
        ("cut.npz", "damaged"),
        ("claims.npy", "cannot be read"),
        ("words.npy", "not plain numbers"),
        ("records.npy", "not plain numbers"),
        ("deep.npy", "deep in one another"),
        ("empty.npy", "cannot be read"),
        ("text.npy", "cannot be read"),
        ("page.pt", "cannot be read"),
        ("nothing.npy", "There is no file"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as error:
        read_arrays(damaged(tmp_path, name))
    assert name in str(error.value)
