"""Sources of checkpoints: a path, a bundled name, ``https://`` with a SHA-256, or ``hf://owner/repository/file``."""

from __future__ import annotations

import os
import stat
from importlib.resources import files
from pathlib import Path

from padinv.checkpoints.cache import fetch, fetch_from_hub, hash_file
from padinv.checkpoints.formats.state_dicts import KINDS, Kind
from padinv.exceptions import CheckpointError
from padinv.files import local_path, path_text
from padinv.networks import Discriminator, Generator, PadInvEncoder
from padinv.typing import PathLike

HUB_FILES: dict[Kind, str] = {
    Generator: "generator.safetensors",
    PadInvEncoder: "encoder.safetensors",
    Discriminator: "discriminator.safetensors",
}
"""Network → its file in a model's folder, on this machine or on the Hugging Face Hub."""

BUNDLED: dict[str, dict[Kind, str]] = {
    name: {kind: f"{name}-{HUB_FILES[kind]}" for kind in KINDS} for name in ("congress64",)
}
"""Bundled weights: name → network → file under ``padinv/assets``. Their provenance is in NOTICE."""

SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt", ".pkl")
"""Usual endings of checkpoints."""


def resolve_source(source: PathLike, kind: Kind | None = None, sha256: str | None = None) -> Path:
    """Finds the file behind a source, and fetches it first if need be.

    Args:
        source: a path, the name of a bundled model, ``https://…`` or ``hf://owner/repository/file``; without the
            file it is that of the kind, as ``padinv push`` names it.
        kind: the network that is wanted of a model, which has a file for each; the generator if not given.
        sha256: what the file's SHA-256 must be; ``https://`` does not do without.

    Raises:
        CheckpointError: if there is no such file or name, or the SHA-256 is missing, malformed or not the file's.
        WeightsNotFoundError: if it cannot be fetched.
        MissingPackageError: if ``hf://`` lacks its package.
    """
    text = path_text(source, CheckpointError)
    if sha256 is not None:
        sha256 = str(sha256).lower()
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
            raise CheckpointError(f"sha256 must be 64 hexadecimal digits, not {sha256!r}.")
    if text.startswith(("https://", "http://")):
        if sha256 is None:
            raise CheckpointError(
                f"{text} needs its SHA-256, so that nobody can put another file in its place: "
                "give sha256=..., or download it and give the path."
            )
        return fetch(text, sha256)
    path = fetch_from_hub(text, HUB_FILES[kind or Generator]) if text.startswith("hf://") else _find(source, kind)
    if sha256 is not None and (actual := hash_file(path)) != sha256:
        raise CheckpointError(f"{path} has the SHA-256 {actual}, not {sha256}: it is another file, or damaged.")
    return path


def resolve_all(source: PathLike, sha256: str | None = None) -> list[Path]:
    """Finds all files of a bundled model, or the one file behind any other source (:func:`resolve_source`)."""
    if is_bundled(source):
        paths = [resolve_source(source, kind) for kind in BUNDLED[os.fspath(source)]]
        if chosen := [path for path in paths if sha256 is None or hash_file(path) == sha256.lower()]:
            return chosen
    return [resolve_source(source, sha256=sha256)]


def is_bundled(source: PathLike) -> bool:
    """Tells whether a source names a bundled model. A file of that name comes first."""
    return path_text(source, CheckpointError) in BUNDLED and not Path(source).is_file()


def _find(source: PathLike, kind: Kind | None) -> Path:
    """Finds the file behind a path, or behind the name of a bundled model."""
    path = local_path(source, CheckpointError)
    try:
        mode = path.stat().st_mode
    except PermissionError as error:
        raise CheckpointError(f"{path} may not be read by this user ({error.strerror}).") from error
    except (OSError, ValueError):  # a name that is too long, or with a NUL
        mode = 0
    if stat.S_ISREG(mode):
        return path
    if file := BUNDLED.get(str(source), {}).get(kind or Generator):
        return Path(str(files("padinv") / "assets" / file))
    if mode:
        raise CheckpointError(f"{path} is {_describe_place(path)}.")
    names = [name for name, networks in BUNDLED.items() if (kind or Generator) in networks]
    raise CheckpointError(
        f"There is no file {str(source)!r}{f' to load a {kind.__name__} from' if kind else ''}, nor a bundled one of "
        f"that name; give the path of a checkpoint{' or one of ' + str(names) if names else ''}."
    )


def _describe_place(path: Path) -> str:
    """Says what is at a path that is no file, and the mend."""
    if not path.is_dir():
        return "no regular file: copy it to one"
    if (path / ".metadata").exists() or any(path.glob("*.distcp")):
        return "a folder with a distributed checkpoint: make one file of it with torch's dcp_to_torch_save"
    inside = sorted(file.name for file in path.glob("*") if file.suffix in SUFFIXES)
    found = ", such as " + ", ".join(inside[:3]) if inside else ", and there is none of a known ending in it"
    return f"a folder: give the path of a checkpoint{found}"
