"""Whatever padinv writes is whole or not there, with the mode that the umask leaves."""

from __future__ import annotations

import os
import resource
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from padinv import Generator
from padinv.checkpoints import save_network
from padinv.codes import InversionCode
from padinv.editing import Direction, save_directions
from padinv.exceptions import CheckpointError, ConfigError
from padinv.files import UNFINISHED, clear_unfinished, writing
from padinv.inversion import Inversion, centre_square


@pytest.fixture(params=[0o022, 0o007, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write_network(path: Path) -> None:
    save_network(Generator(8, z_dim=4, w_dim=4, mapping_layers=1, channels={4: 4, 8: 4}), path)


def write_codes(path: Path) -> None:
    crop = centre_square((8, 8))
    Inversion(InversionCode(torch.ones(1, 4, 4)), torch.ones(1, 3, 8, 8), (crop,), ("a",), "0", False).save(path)


def write_directions(path: Path) -> None:
    save_directions([Direction("smile", torch.ones(4))], path)


WRITERS: list[Callable[[Path], None]] = [write_network, write_codes, write_directions]


@pytest.mark.parametrize("write", WRITERS)
def test_modes_follow_the_umask(tmp_path: Path, umask: int, write: Callable[[Path], None]) -> None:
    path = tmp_path / "file.safetensors"
    write(path)
    assert mode(path) == 0o666 & ~umask
    path.chmod(0o640)
    write(path)
    assert mode(path) == 0o640
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def write_half(path: Path, failure: BaseException) -> None:
    with writing(path, ConfigError) as part:
        part.write_text("half")
        raise failure


def test_nothing_changes_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")
    for failure, seen in (
        (RuntimeError("ours"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), ConfigError),
    ):
        with pytest.raises(seen):
            write_half(path, failure)
        assert path.read_text() == "before"
        assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


def test_what_lies_beside_comes_along(tmp_path: Path) -> None:
    with writing(tmp_path / "new" / "model.onnx", durable=False, parents=True) as part:
        assert part.name == "model.onnx"
        part.write_text("graph")
        part.with_name("model.onnx.data").write_text("weights")
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["model.onnx", "model.onnx.data"]


def test_one_inside_of_another(tmp_path: Path) -> None:
    target = tmp_path / "file.safetensors"
    with writing(target) as part:
        write_network(part)
    assert [file.name for file in tmp_path.iterdir()] == [target.name]
    with pytest.raises(ConfigError, match=rf"{target} cannot be written \(a disk"):
        write_half_inside(target)


def write_half_inside(path: Path) -> None:
    with writing(path, ConfigError) as outer:
        write_half(outer, OSError("a disk"))


def test_links_are_not_followed(tmp_path: Path) -> None:
    """The place of an unfinished file is unguessable and nobody else's; a link at the target is replaced."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "file").symlink_to(tmp_path / "precious")
    with writing(tmp_path / "file") as part:
        assert mode(part.parent) == 0o700
        assert part.parent.name.startswith(UNFINISHED)
        part.write_text("new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("write", WRITERS)
def test_what_cannot_be_written_is_a_sentence(tmp_path: Path, write: Callable[[Path], None]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    places = ("missing/a.safetensors", "file/a.safetensors", "folder", "fifo", "a\0b", "n" * 300, "/proc/a.safetensors")
    for place in places:
        with pytest.raises(CheckpointError, match=r"cannot be written .*: choose another place"):
            write(tmp_path / place)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["fifo", "file", "folder"]


@pytest.mark.parametrize("write", WRITERS)
def test_full_disks(tmp_path: Path, write: Callable[[Path], None]) -> None:
    """A limit of the process on the size of files is met by the same calls as the end of a disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"file\.safetensors cannot be written \(File too large\): make room"):
            write(tmp_path / "file.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_killed_processes(tmp_path: Path) -> None:
    (tmp_path / f"{UNFINISHED}1").mkdir()
    (tmp_path / f"{UNFINISHED}1" / "half").touch()
    (tmp_path / f"{UNFINISHED}2").touch()
    (tmp_path / "kept").touch()
    (tmp_path / f"{UNFINISHED}3").symlink_to(tmp_path / "kept")
    clear_unfinished(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]
