"""Where a checkpoint comes from: a path, a bundled name, ``https://`` with a SHA-256, or ``hf://owner/repository/file``."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import torch

from padinv.checkpoints.registry import resolve
from padinv.checkpoints.weights import reason
from padinv.exceptions import CheckpointError, MissingPackageError, WeightsNotFoundError
from padinv.typing import PathLike

BLOCK = 2**20
TIMEOUT = 30


def resolve_source(source: PathLike, network: str, sha256: str | None = None) -> Path:
    """Finds the file behind a source, and fetches it first if need be.

    Args:
        source: a path, the name of a bundled model, ``https://…`` or ``hf://owner/repository/file``.
        network: "Generator", "Discriminator" or "PadInvEncoder".
        sha256: what the file's SHA-256 must be; ``https://`` does not do without.

    Raises:
        CheckpointError: if there is no such file or name, or the SHA-256 is missing, malformed or not the file's.
        WeightsNotFoundError: if it cannot be fetched.
        MissingPackageError: if ``hf://`` lacks its package.
    """
    if sha256 is not None:
        sha256 = sha256.lower()
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
            raise CheckpointError(f"sha256 must be 64 hexadecimal digits, not {sha256!r}.")
    text = os.fspath(source)
    if text.startswith(("https://", "http://")):
        if sha256 is None:
            raise CheckpointError(
                f"{text} needs its SHA-256, so that nobody can put another file in its place: "
                "give sha256=..., or download it and give the path."
            )
        return fetch(text, sha256)
    path = _fetch_from_hub(text) if text.startswith("hf://") else resolve(source, network)
    if sha256 is not None and (actual := hash_file(path)) != sha256:
        raise CheckpointError(f"{path} has the SHA-256 {actual}, not {sha256}: it is another file, or damaged.")
    return path


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def cache_folder() -> Path:
    """Where fetched checkpoints are kept, beside PyTorch's own: ``$TORCH_HOME/hub/checkpoints/padinv``."""
    return Path(torch.hub.get_dir()) / "checkpoints" / "padinv"


def fetch(url: str, sha256: str) -> Path:
    """Fetches a file into the cache, unless it is there.

    What has come so far is kept beside it as ``….part``, to go on from; the file gets its name in one move, once all of
    it has come and has the right SHA-256.

    Args:
        url: where it is.
        sha256: what its SHA-256 must be, in lower case; part of its name in the cache.

    Raises:
        CheckpointError: if what comes is another file.
        WeightsNotFoundError: if it cannot be fetched.
    """
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name or "checkpoint"
    path = cache_folder() / f"{sha256[:16]}-{name}"
    if path.is_file():
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, part)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsNotFoundError(
            f"{url} could not be fetched ({reason(error)}), and {path} does not exist: "
            "try again when there is a network, or download it elsewhere and give its path."
        ) from error
    if (actual := hash_file(part)) != sha256:
        part.unlink()
        raise CheckpointError(
            f"{url} has the SHA-256 {actual}, not {sha256}: it is another file; mend the URL or sha256."
        )
    return part.replace(path)


def _download(url: str, part: Path) -> None:
    """Appends to a file what it lacks, or starts anew where the server cannot go on from the middle."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is lacking; the SHA-256 tells whether it is right
        raise
    with response, part.open("ab" if response.status == http.client.PARTIAL_CONTENT else "wb") as file:
        expected = response.headers.get("Content-Length")
        start = file.tell()
        while block := response.read(BLOCK):
            file.write(block)
        if expected is not None and file.tell() - start != int(expected):
            raise http.client.IncompleteRead(b"", int(expected) - (file.tell() - start))


def _fetch_from_hub(source: str) -> Path:
    """``hf://owner/repository/file``, by huggingface_hub, which caches, resumes, and moves into place by itself."""
    owner, _, rest = source.removeprefix("hf://").partition("/")
    repository, _, file = rest.partition("/")
    if not (owner and repository and file):
        raise CheckpointError(f"{source} must be hf://owner/repository/file.")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise MissingPackageError(f"Fetching {source} needs huggingface_hub: pip install huggingface_hub") from error
    try:
        return Path(hf_hub_download(f"{owner}/{repository}", file))
    except (OSError, ValueError) as error:  # its own errors are of these
        raise WeightsNotFoundError(
            f"{source} could not be fetched ({reason(error)}), and is not in its cache: "
            "try again when there is a network, mend its name, or download it elsewhere and give its path."
        ) from error
