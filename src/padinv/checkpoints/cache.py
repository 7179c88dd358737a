"""Files from the network, fetched once and kept: ``https://`` with a SHA-256, and ``hf://owner/repository/file``."""

from __future__ import annotations

import errno
import hashlib
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from padinv.checkpoints.pickles.first_bytes import LOOKED_AT, kind_of
from padinv.checkpoints.weights import reason
from padinv.exceptions import CheckpointError, MissingPackageError, WeightsNotFoundError

BLOCK = 2**20  # bytes that are read at once
TIMEOUT = 30
"""Seconds without a byte, or until a download must have become fast."""
MOST_BYTES = 2**34  # 16 GiB, far more than a network and its discriminator have
MOST_SECONDS = 6 * 3600  # of a whole download, before a slow server is given up
SLOWEST = 1_000
"""Bytes a second, on average."""


def hash_file(path: Path) -> str:
    """Computes the SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def cache_folder() -> Path:
    """Returns the folder of fetched checkpoints, beside PyTorch's own: ``$TORCH_HOME/hub/checkpoints/padinv``."""
    return Path(torch.hub.get_dir()) / "checkpoints" / "padinv"


def fetch(url: str, sha256: str) -> Path:
    """Fetches a file into the cache, unless it is there.

    An unfinished download stays beside it as ``….part``, to be resumed. The file gets its name in one move, once it is
    complete and has the right SHA-256. If several processes want it, one fetches and the others wait.

    Args:
        url: the address of the file.
        sha256: what its SHA-256 must be, in lower case; part of its name in the cache.

    Raises:
        CheckpointError: if the server sends another file.
        WeightsNotFoundError: if it cannot be fetched or stored.
    """
    try:
        name = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name or "checkpoint"
    except ValueError as error:
        raise WeightsNotFoundError(f"{url} could not be fetched ({error}): mend the URL.") from error
    path = cache_folder() / f"{sha256[:16]}-{re.sub(r'[^a-zA-Z0-9._ -]', '_', name)[-100:]}"
    if path.is_file():
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.with_name(f"{path.name}.lock")):
            if path.is_file():  # another process has been faster
                return path
            begun = part.is_file()
            _download(url, part)
            if begun and hash_file(part) != sha256:  # the file that was there is another one
                part.unlink()
                _download(url, part)
            actual = hash_file(part)
            if actual == sha256:
                return part.replace(path)
            with part.open("rb") as file:
                what = kind_of(file.read(LOOKED_AT))
            part.unlink()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise WeightsNotFoundError(
            f"{url} could not be fetched ({_reason(error)}), and {path} does not exist: "
            "try again when there is a network, or download it elsewhere and give its path."
        ) from error
    raise CheckpointError(
        f"{url} has the SHA-256 {actual}, not {sha256}: it is {what or 'another file; mend the URL or sha256'}."
    )


def _reason(error: Exception) -> str:
    hint = {401: "it needs a login", 403: "it may need a login", 404: "the URL may be wrong", 410: "it is gone"}
    if isinstance(error, urllib.error.HTTPError) and error.code in hint:
        return f"{error}; {hint[error.code]}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        return f"{cache_folder()}: {error.strerror}; TORCH_HOME may name another folder"
    return reason(error)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Waits until no other process is inside; on systems without file locks it does not wait."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)  # those who wait look for the file before fetching


def _download(url: str, part: Path) -> None:
    """Appends the missing bytes to a file, or starts again if the server cannot resume.

    Raises:
        OSError: if the download fails, or is larger, longer or slower than that of any checkpoint.
    """
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the file is complete; the SHA-256 tells whether it is right
        raise
    started = time.monotonic()
    with response, part.open("ab" if response.status == http.client.PARTIAL_CONTENT else "wb") as file:
        expected = response.headers.get("Content-Length")
        start = file.tell()
        while block := response.read1(BLOCK):
            file.write(block)
            took, came = time.monotonic() - started, file.tell() - start
            if file.tell() > MOST_BYTES:
                file.truncate(0)
                raise OSError(f"it is larger than {MOST_BYTES / 1e9:.0f} GB, as no checkpoint is")
            if took > MOST_SECONDS or (took > TIMEOUT and came < SLOWEST * took):
                raise OSError(f"it comes too slowly: {came} bytes in {took:.0f} seconds")
        if expected is not None and file.tell() - start != int(expected):
            raise http.client.IncompleteRead(b"", int(expected) - (file.tell() - start))


def fetch_from_hub(source: str, default: str = "") -> Path:
    """Fetches ``hf://owner/repository/file`` by huggingface_hub, which caches, resumes, and moves into place by itself.

    ``repository@revision`` names a branch, a tag or a commit. Without a network, huggingface_hub gives what it has in
    its cache.

    Args:
        source: what to fetch.
        default: the file to fetch if the source names a repository alone.

    Raises:
        CheckpointError: if the source does not name a file.
        MissingPackageError: if huggingface_hub is missing.
        WeightsNotFoundError: if the file cannot be fetched.
    """
    owner, _, rest = source.removeprefix("hf://").partition("/")
    repository, _, file = rest.partition("/")
    repository, _, revision = repository.partition("@")
    file = file or default
    if not (owner and repository and file):
        raise CheckpointError(f"{source} must be hf://owner/repository/file.")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise MissingPackageError(f"Fetching {source} needs huggingface_hub: pip install huggingface_hub") from error
    try:
        if revision:
            return Path(hf_hub_download(f"{owner}/{repository}", file, revision=revision))
        return Path(hf_hub_download(f"{owner}/{repository}", file))
    except Exception as error:  # it raises errors of many classes, also those of its HTTP library
        raise WeightsNotFoundError(
            f"{source} could not be fetched ({reason(error)}), and is not in its cache: "
            "try again when there is a network, mend its name, or download it elsewhere and give its path."
        ) from error
