"""Paths that users give, and files that are whole or absent.

Each file is written beside its place, and moved there once it is on the disk.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp
from typing import Any

from padinv.exceptions import CheckpointError, ConfigError, PadInvError
from padinv.typing import PathLike

UNFINISHED = ".part-"
"""Prefix of the folders in which files are being written; a killed process leaves one behind."""

NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags of ``os.open`` that follow no link and wait for no pipe, where the system has them."""


def path_text(path: Any, error: type[PadInvError] = ConfigError) -> str:
    """The text of a path, or of a name or address that stands for one.

    Args:
        path: what was given for one.
        error: what to raise.

    Raises:
        PadInvError: the ``error``, if it is no path, or is empty, as a shell variable that is not set.

    >>> path_text(Path("a"))
    'a'
    """
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise error(f"A path or a name must be text, not a {type(path).__name__}.")
    if not text:
        raise error("A path is empty; a dot is the current folder.")
    return text


def local_path(path: Any, error: type[PadInvError] = ConfigError) -> Path:
    """The path that a user has given; ``~`` becomes the home folder.

    Args:
        path: what was given for one.
        error: what to raise.

    Raises:
        PadInvError: the ``error``, if it is no path, is empty, or names a user whom this machine does not have.
    """
    text = path_text(path, error)
    try:
        return Path(text).expanduser()
    except RuntimeError as reason:
        raise error(f"{text} begins with the name of a user whom this machine does not have.") from reason


def make_writable(folder: Path, mend: str) -> None:
    """Makes a folder, and tries to write there, before the work begins.

    Raises:
        ConfigError: if nothing can be written to it; the sentence ends with the mend.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"Nothing can be written to {folder} ({error.strerror}); {mend}.") from error


@contextmanager
def writing(
    path: PathLike,
    error: type[PadInvError] = CheckpointError,
    *,
    parents: bool = False,
    durable: bool = True,
    scratch: Path | None = None,
) -> Iterator[Path]:
    """Gives a path to write to, and moves the written file to its place at the end.

    The path has the target's name, in a private folder beside the target, on the same disk. Other files that are
    written into this folder move along, before the file itself. The file gets the mode of the file that it replaces, or
    what the umask allows, whatever the writer set. After an error nothing has changed.

    Everything that padinv writes goes through here: ``torch.save``, safetensors, Pillow and others get the path.

    Args:
        path: the file.
        error: what to raise.
        parents: make its folder if it is missing.
        durable: wait until the file is on the disk, so that even a power failure leaves all or nothing. It takes some
            milliseconds, too many for thousands of small files.
        scratch: an empty folder to write in, on the same disk, whose name begins with :data:`UNFINISHED`. If it is not
            given, one is made, which takes some milliseconds, too.

    Yields:
        Where to write.

    Raises:
        PadInvError: the ``error``, if the file cannot be written; an OSError of the block is taken for that.
    """
    target = local_path(path, error)
    if target.parent.name.startswith(UNFINISHED):  # a block inside another one, which tells the real name of the file
        yield target
        return
    try:
        mode = _mode_of(target)
        if parents:
            target.parent.mkdir(parents=True, exist_ok=True)
        place = scratch or Path(mkdtemp(prefix=UNFINISHED, dir=target.parent))
        try:
            if mode is None:
                mode = _mode_of_new(place)
            yield place / target.name
            written = sorted(place.iterdir(), key=lambda file: file.name == target.name)
            for file in written:
                if durable:
                    _flush(file)
                file.chmod(mode)
            for file in written:
                file.replace(target.parent / file.name)
            if durable:
                _flush(target.parent)
        finally:
            for left in place.iterdir() if scratch else ():
                left.unlink()
            if not scratch:
                shutil.rmtree(place, ignore_errors=True)
    except (OSError, ValueError) as reason:  # a ValueError of the operating system: a path with a NUL
        if isinstance(reason, PadInvError) or (isinstance(reason, ValueError) and "\0" not in os.fspath(target)):
            raise
        said = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
        full = getattr(reason, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        mend = "make room there, or choose another disk" if full else "choose another place"
        raise error(f"{target} cannot be written ({said}): {mend}.") from reason


def clear_unfinished(folder: PathLike) -> None:
    """Removes what killed processes left in a folder; call it only if nobody is writing there."""
    for left in Path(folder).glob(f"{UNFINISHED}*"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _mode_of(target: Path) -> int | None:
    """The permissions of a file that is to be replaced; None if there is none."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise OSError("there is something that is no file")
    return stat.S_IMODE(mode) & 0o777


def _mode_of_new(folder: Path) -> int:
    """The permissions that a new file gets; nobody can read the umask itself without changing it."""
    probe = folder / "mode"
    os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    return mode


def _flush(path: Path) -> None:
    """Waits until a file or folder is on the disk, as far as the system can tell."""
    folder = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        if not folder:  # some file systems, and Windows, cannot flush those
            raise
