import gc
import os
import pickle
import struct
import sys
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from image_files import encode, picture, write_folder, write_lmdb, write_zip
from padinv import images
from padinv.exceptions import DataError, MissingPackageError
from padinv.sources.folders import IMAGE_SUFFIXES, FilesLeftOutWarning
from padinv.sources.opening import BUNDLED, Source, open_source


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
    with pytest.warns(FilesLeftOutWarning, match=f"{tmp_path}: 1 file is left out: 1 without an ending$"):
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
    (tmp_path / "root" / "itself.png").symlink_to("itself.png")
    with pytest.warns(FilesLeftOutWarning, match=r"root: 2 files are left out: 2 link to nowhere"):
        assert names(open_source(tmp_path / "root")) == [f"{tmp_path}/root/link/000{i}.png" for i in range(2)]


def test_folders_that_lead_to_each_other_in_many_ways(tmp_path: Path) -> None:
    for i in range(20):  # 2 ** 20 ways to the last
        (tmp_path / f"{i}").mkdir()
        for name in "ab" if i else ():
            (tmp_path / f"{i - 1}" / name).symlink_to(tmp_path / f"{i}")
    (tmp_path / "19" / "back").symlink_to(tmp_path / "0")
    write_folder(tmp_path / "19", 1)
    assert names(open_source(tmp_path / "0")) == [f"{tmp_path}/0/{'a/' * 19}0000.png"]


def test_every_ending_that_pillow_reads(tmp_path: Path) -> None:
    Image.init()
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in images.FORMATS}
    assert endings - {".pfm"} <= IMAGE_SUFFIXES  # whose pixels are floating-point numbers
    for ending in (".jfif", ".JPE", ".mpo", ".dib", ".pnm", ".apng", ".jp2"):
        (tmp_path / f"a{ending}").write_bytes(b"x")
    assert len(open_source(tmp_path)) == 7


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_what_is_left_out_is_told(tmp_path: Path, kind: str) -> None:
    other = ["a.heic", "b.HEIC", "c.mov", "photo", "x.jpg_large", "sub/part.zip"]
    quiet = ["labels.csv", "._a.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/a.heic", "a.xmp", "sub/n.txt"]
    members = dict.fromkeys(["a.png", *other, *quiet], b"x")
    path = tmp_path / kind
    if kind == "zip":
        write_zip(path, members)
    else:
        for name in members:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(b"x")
    expected = f"{path}: 6 files are left out: 2 .heic, 1 .*; save HEIC as JPEG"
    with pytest.warns(FilesLeftOutWarning, match=expected):
        assert names(open_source(path)) == [f"{path}/a.png"]


def test_a_folder_with_nothing_but_others(tmp_path: Path) -> None:
    (tmp_path / "a.heic").touch()
    with pytest.raises(DataError, match=r"no images under .*; 1 file is left out: 1 \.heic; save HEIC as JPEG"):
        open_source(tmp_path)


def test_a_subfolder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, 1)
    (tmp_path / "lost+found").mkdir()
    scandir = os.scandir

    def refuse(folder: str) -> object:
        if folder.endswith("lost+found"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(FilesLeftOutWarning, match=r"1 folder lost\+found \(Permission denied\)"):
        assert len(open_source(tmp_path)) == 1
    with pytest.raises(DataError, match="cannot be listed: Permission denied"):
        open_source(tmp_path / "lost+found")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are none")
@pytest.mark.parametrize("name", ["a.png", "a.zip", "a"])
def test_what_is_no_file_does_not_wait(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="is a pipe, a socket or a device"):
        open_source(tmp_path / name)
    with pytest.raises(DataError, match="it is a pipe, a socket or a device"):
        images.read_bytes(str(tmp_path / name))
    with pytest.raises(DataError, match="a pipe, a socket or a device"):
        images.read_bytes("/dev/zero")
    write_folder(tmp_path / "b", 1)
    with pytest.warns(FilesLeftOutWarning, match="1 pipe, socket or device"):
        assert len(open_source(tmp_path)) == 1


@pytest.mark.parametrize("name", ["b.jfif", "photo", "b.jpg_large"])
def test_an_image_of_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(encode(picture(1), "JPEG"))
    assert names(open_source(tmp_path / name)) == [str(tmp_path / name)]


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


def test_one_odd_member_is_not_the_whole_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {f"{name}.png": b"12345678" for name in ("u\u00fc", "b", "c", "d")})
    data = path.read_bytes()
    data = data.replace("u\u00fc.png".encode(), b"u\xff\xfe.png")  # marked as UTF-8
    members = data.split(b"PK\1\2")
    for i, change in {2: (6 - 4, b"\xff"), 3: (8 - 4, b"\1")}.items():  # a newer program is needed; encrypted
        members[i] = members[i][: change[0]] + change[1] + members[i][change[0] + 1 :]
    path.write_bytes(b"PK\1\2".join(members))
    source = open_source(path)
    assert [name.rpartition("/")[2] for name in names(source)] == ["b.png", "c.png", "d.png", "u\udcff\udcfe.png"]
    assert [source.read(i) for i in (0, 2, 3)] == [b"12345678"] * 3
    with pytest.raises(DataError, match="it is encrypted"):
        source.read(1)


def test_members_outside_of_the_zip_are_left_out_and_told(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.png": b"1", "../b.png": b"2", "./c.png": b"3"})
    with pytest.warns(FilesLeftOutWarning, match=r"1 file is left out: 1 \.png in \.\./"):
        source = open_source(path)
    assert [name.rpartition("a.zip/")[2] for name in names(source)] == ["./c.png", "a.png"]


def test_a_large_zip_says_so_in_other_places(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive, archive.open("a.png", "w", force_zip64=True) as member:
        member.write(b"123")
    data = path.read_bytes()
    at, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    entry = data[at:end]
    large = struct.pack("<2H3Q", 1, 24, 3, 3, 0)
    entry = (
        entry[:20] + b"\xff" * 8 + entry[28:30] + struct.pack("<H", len(large)) + entry[32:42] + b"\xff" * 4 + b"a.png"
    )
    directory = entry + large
    zip64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(directory), at)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at + len(directory), 1)
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(data[:at] + directory + zip64 + locator + last)
    assert zipfile.ZipFile(path).read("a.png") == open_source(path).read(0) == b"123"


@pytest.mark.parametrize("cut", [1, 30, 60, 90])
def test_a_zip_that_ends_early(tmp_path: Path, cut: int) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.png": b"123"})
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DataError, match=r"is not a readable zip file \(it (is none, or it ends early|is cut off)"):
        open_source(path)


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


@pytest.mark.parametrize("left", [0.5, 0.9])
def test_a_database_that_is_cut_off(tmp_path: Path, left: float) -> None:
    """Reading beyond the end of a mapped file would kill this process."""
    path = write_lmdb(tmp_path / "lmdb", {f"{i:04}": bytes(3000) for i in range(200)})
    source = open_source(path)
    database = path / "data.mdb"
    os.truncate(database, int(left * database.stat().st_size))
    with pytest.raises(DataError, match=r"it is cut off: it has [\d,]+ of [\d,]+ bytes"):
        open_source(path)
    with pytest.raises(DataError, match="it is cut off"):
        source.read(199)
    os.truncate(database, 0)
    with pytest.raises(DataError, match=r"data\.mdb is empty"):
        open_source(path)


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
