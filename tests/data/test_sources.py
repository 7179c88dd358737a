import gc
import os
import pickle
import sys
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from image_files import encode, picture, write_folder, write_lmdb, write_zip
from padinv import images
from padinv.data.bundled import BUNDLED
from padinv.data.sources import Source, open_source
from padinv.exceptions import DataError, MissingPackageError


def names(source: Source) -> list[str]:
    return [source.name(i) for i in range(len(source))]


def test_folder_is_searched_recursively_in_sorted_order(tmp_path: Path) -> None:
    for name in ["b.PNG", "a.jpg", "sub/c.webp", "sub/deeper/d.tiff", "0/e.jpeg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    for name in ["notes.txt", "._b.png", ".hidden/f.png", "png", "__MACOSX/g.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    source = open_source(str(tmp_path))
    expected = ["a.jpg", "b.PNG", "0/e.jpeg", "sub/c.webp", "sub/deeper/d.tiff"]
    assert names(source) == [f"{tmp_path}/{name}" for name in expected]
    assert [source.read(i) for i in range(5)] == [name.encode() for name in expected]


def test_folder_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    write_folder(tmp_path / "elsewhere", 2)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "circle").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    assert names(open_source(tmp_path / "root")) == [f"{tmp_path}/root/link/000{i}.png" for i in range(2)]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip(tmp_path: Path, method: int) -> None:
    images = {f"{folder}/{i}.png": encode(picture(i)) for i, folder in enumerate("ba")}
    other = {"provenance.csv": b"file", "__MACOSX/a/._1.png": b"", "a/.hidden.png": b"", "folder.png/": b""}
    path = write_zip(tmp_path / "pictures.zip", {**images, **other}, method)
    source = open_source(str(path))
    assert names(source) == [f"{path}/a/1.png", f"{path}/b/0.png"]
    assert [source.read(0), source.read(1)] == [images["a/1.png"], images["b/0.png"]]


def test_zip_that_something_was_written_before(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.png": b"123"})
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    assert open_source(path).read(0) == b"123"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data.replace(b"ABCDEFGH", b"ABCDXFGH"), "checksum"),
        (lambda data: b"XX" + data[2:], "damaged"),
        (lambda data: data.replace(b"PK\1\2\x14\3\x14\0\0\0\0\0", b"PK\1\2\x14\3\x14\0\0\0\x0c\0"), "method 12"),
        (lambda data: data.replace(b"PK\1\2\x14\3\x14\0\0\0\0\0", b"PK\1\2\x14\3\x14\0\0\0\x08\0"), "unpacked"),
    ],
)
def test_damaged_zip_member(tmp_path: Path, damage: object, reason: str) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.png": b"ABCDEFGH"})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=reason):
        open_source(path).read(0)


def test_lmdb_as_lsun_lays_it_out(tmp_path: Path) -> None:
    values = {f"{i:040x}": encode(picture(i), "WEBP", lossless=True) for i in (2, 0, 1)}
    path = write_lmdb(tmp_path / "church_outdoor_train_lmdb", values)
    source = open_source(str(path))
    assert names(source) == [f"{path}/{i:040x}" for i in range(3)]
    assert [source.read(i) for i in range(3)] == [values[f"{i:040x}"] for i in range(3)]


def test_one_lmdb_directory_in_two_places(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "lmdb", {"a": b"1", "b": b"2"})
    source = open_source([str(path), str(path)])
    assert [source.read(i) for i in range(4)] == [b"1", b"2", b"1", b"2"]


def test_lmdb_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lmdb(tmp_path / "lmdb", {"a": b"1"})
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(MissingPackageError, match=r'pip install "padinv\[lmdb\]"'):
        open_source(str(path))


def test_several_sources_one_after_the_other(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", 2)
    archive = write_zip(tmp_path / "a.zip", {"x.png": b"x"})
    database = write_lmdb(tmp_path / "lmdb", {"k": b"v"})
    single = folder / "0001.png"
    source = open_source([str(folder), str(archive), str(database), str(single)])
    expected = [f"{folder}/0000.png", f"{folder}/0001.png", f"{archive}/x.png", f"{database}/k", str(single)]
    assert names(source) == expected
    assert [source.read(i) for i in (2, 3)] == [b"x", b"v"]
    assert source.read(4) == source.read(1) == single.read_bytes()


@pytest.mark.parametrize(("name", "count"), [("congress64-train", 128), ("congress64-val", 32)])
def test_bundled(name: str, count: int) -> None:
    source = open_source(name)
    assert len(source) == count
    assert all(member.endswith(".png") for member in names(source))  # provenance.csv is no image


def test_a_path_comes_before_a_bundled_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "congress64-val", 1)
    monkeypatch.chdir(tmp_path)
    assert names(open_source("congress64-val")) == ["congress64-val/0000.png"]


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(write_folder(tmp_path / "home" / "pictures", 1).parent))
    assert len(open_source("~/pictures")) == 1


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path}/nowhere does not exist.*{', '.join(BUNDLED)}"):
        open_source(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("kind", ["folder", "zip", "lmdb"])
def test_no_images_under_a_path(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
        (path / "notes.txt").touch()
    elif kind == "zip":
        write_zip(path, {"notes.txt": b""})
    else:
        write_lmdb(path, {})
    with pytest.raises(DataError, match=f"no images under {path}"):
        open_source(str(path))


@pytest.mark.parametrize("name", ["a.zip", "weights.pt"])
def test_a_file_of_another_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no zip file at all")
    with pytest.raises(DataError, match=f"{name} is not a readable zip file"):
        open_source(str(tmp_path / name))


def test_a_damaged_lmdb(tmp_path: Path) -> None:
    pytest.importorskip("lmdb", reason="an extra")
    (tmp_path / "data.mdb").write_bytes(b"junk" * 4096)
    with pytest.raises(DataError, match="not a readable LMDB directory"):
        open_source(str(tmp_path))


def test_a_file_too_large_to_be_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    (tmp_path / "a.png").write_bytes(bytes(11))
    with pytest.raises(DataError, match="larger than"):
        open_source(tmp_path).read(0)


@pytest.mark.parametrize(("kind", "beside_the_name"), [("folder", 9), ("zip", 30), ("lmdb", 9)])
def test_index_is_small_and_holds_no_open_file(tmp_path: Path, kind: str, beside_the_name: int) -> None:
    """What a worker process gets for each image: the bytes of its name, and a constant."""
    count, members = 3000, [f"{i:036}.png" for i in range(3000)]  # 40 bytes, as LSUN's keys
    if kind == "folder":
        (tmp_path / kind).mkdir()
        for name in members:
            (tmp_path / kind / name).touch()
    else:
        (write_zip if kind == "zip" else write_lmdb)(tmp_path / kind, dict.fromkeys(members, b"x"))
    open_source(tmp_path / kind)  # imports what it needs
    tracemalloc.start()
    source = open_source(tmp_path / kind)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    source.read(17)
    assert len(pickle.dumps(source)) / count < 40 + beside_the_name
    assert held / count < 40 + beside_the_name + 2
    if sys.platform == "linux":
        assert not [
            link for link in Path("/proc/self/fd").iterdir() if tmp_path in Path(os.path.realpath(link)).parents
        ]
