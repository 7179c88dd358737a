from __future__ import annotations

import pytest

from padinv.exceptions import DataError
from padinv.inversion.tables import Table


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("a.jpg", "/p/a.jpg"),
        ("q/a.jpg", "/p/a.jpg"),
        ("./a.jpg", "a.jpg"),
        ("../p/a.jpg", "/p/a.jpg"),
        ("p\\\\a.jpg", "/p/a.jpg"),
        ("/home/ada/p/a.jpg", "p/a.jpg"),
        ("u\u0308.jpg", "/p/\u00fc.jpg"),
        ("\u00fc.jpg", "/p/u\u0308.jpg"),
        (" a.jpg ", "/p/a.jpg"),
        ("a.jpg", "codes/a.safetensors"),
        ("a.jpg", "codes/a.jpg.safetensors"),
        ("a.safetensors", "codes/a.safetensors"),
        ("a.jpg", "e4e/a.PT"),
        ("a", "/p/a.jpg"),
        ("p/a", "/p/a.jpg"),
        ("a", "codes/a.safetensors"),
        ("x.zip/p/a.jpg", "/d/x.zip/p/a.jpg"),
    ],
)
def test_found(key: str, name: str) -> None:
    assert Table({key: 1, "b.jpg": 2}).entry(name) == 1


@pytest.mark.parametrize("name", ["/p/a.png", "/p/A.jpg", "/p/ba.jpg", "a", "", "/p/a.jpg/"[:-1] + "x"])
def test_not_found(name: str) -> None:
    assert Table({"a.jpg": 1}).find(name) is None
    with pytest.raises(DataError, match="mine has no entry for"):
        Table({"a.jpg": 1}, "mine").entry(name)


def test_the_longest_end_goes_first() -> None:
    table = Table({"a.jpg": 0, "p/a.jpg": 1, "q/p/a.jpg": 2})
    assert [table.find(name) for name in ("a.jpg", "/x/a.jpg", "/x/p/a.jpg", "/q/p/a.jpg")] == [0, 0, 1, 2]
    assert Table({"a.png": 1, "a.jpg": 2, "a": 3}).find("a.jpg") == 2
    with pytest.raises(DataError, match=r"several entries that could be meant by a\.safetensors, a\.jpg, a\.png"):
        Table({"a.png": 1, "a.jpg": 2}).find("a.safetensors")


def test_many_photographs_of_one_name_take_no_longer() -> None:
    names = [f"/d/{i}/image.jpg" for i in range(20_000)]
    table = Table({f"{i}/image.jpg": i for i in range(20_000)}, names=names)
    assert [table.find(name) for name in names[:200]] == list(range(200))
    shared = Table({"image.jpg": 1}, "labels.csv", names)
    with pytest.raises(DataError, match=r"for /d/19999/image.jpg, /d/0/image.jpg, /d/1/image.jpg and others"):
        shared.find(names[-1])
