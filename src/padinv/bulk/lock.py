"""Lets one process at a time write into a folder of results: two would overwrite each other's records."""

from __future__ import annotations

import errno
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import strftime

from padinv.exceptions import ConfigError
from padinv.files import NO_LINK

LOCK = ".padinv-lock"
"""The file that is locked; it says who holds it."""

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of file systems without locks, where a command runs without one."""

AT = 1 << 30
"""The byte that Windows locks. It lies beyond the content, since nobody can read a locked byte."""


@contextmanager
def alone_in(folder: Path, what: str) -> Iterator[None]:
    """Keeps other processes that call this out of a folder.

    The system frees the lock however the process ends, so a killed process blocks nobody.

    Args:
        folder: the folder, which exists.
        what: the command that runs, for the message that the others get.

    Raises:
        ConfigError: if another process is there, or the folder has been removed or replaced in the meantime.
    """
    path = folder / LOCK
    descriptor = _acquire(path)
    try:
        os.ftruncate(descriptor, 0)
        holder = {"what": what, "process": os.getpid(), "machine": platform.node(), "since": strftime("%H:%M:%S")}
        os.write(descriptor, json.dumps(holder).encode())
        yield
        if not _is_at(descriptor, path):
            raise ConfigError(f"{folder} was removed while results were written there: give the same command again.")
    finally:
        with suppress(OSError):  # Windows cannot remove an open file
            if _is_at(descriptor, path):
                path.unlink()
        os.close(descriptor)


def _acquire(path: Path) -> int:
    """Opens and locks the file, and returns its descriptor, which child processes do not inherit."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666)
        except OSError as error:
            raise ConfigError(f"{path} cannot be opened ({error.strerror}): remove it.") from error
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                holder = _holder(descriptor)
                os.close(descriptor)
                mend = "wait until it ends, or choose another --output"
                raise ConfigError(f"Another command writes into {path.parent}{holder}: {mend}.") from error
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # its holder has removed it between the opening and the locking


def _lock(descriptor: int) -> None:
    """Locks an open file for this process, not for its forks, or raises OSError."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        os.lseek(descriptor, AT, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # Windows
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.read(descriptor, 4096))
        return " ({what}, process {process} on {machine}, since {since})".format(**holder)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return ""


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one at the path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
