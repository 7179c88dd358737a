"""The networks that come with padinv, by name."""

from __future__ import annotations

import stat
from importlib.resources import files
from pathlib import Path

from padinv.exceptions import CheckpointError
from padinv.typing import PathLike

BUNDLED: dict[str, dict[str, str]] = {
    "congress64": {
        "Generator": "congress64-generator.safetensors",
        "Discriminator": "congress64-discriminator.safetensors",
        "PadInvEncoder": "congress64-encoder.safetensors",
    },
}
"""Bundled weights: name → network → file under ``padinv/assets``. Their provenance is in NOTICE."""

SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt", ".pkl")
"""Usual endings of checkpoints."""


def resolve(source: PathLike, network: str) -> Path:
    """Finds the file behind a path, or behind the name of a bundled model.

    Args:
        source: a path, or a name of :data:`BUNDLED`.
        network: "Generator", "Discriminator" or "PadInvEncoder".

    Raises:
        CheckpointError: if there is neither such a file nor such a name.
    """
    path = Path(source).expanduser()
    try:
        mode = path.stat().st_mode
    except PermissionError as error:
        raise CheckpointError(f"{path} may not be read by this user ({error.strerror}).") from error
    except (OSError, ValueError):  # a name that is too long, or with a NUL
        mode = 0
    if stat.S_ISREG(mode):
        return path
    if file := BUNDLED.get(str(source), {}).get(network):
        return Path(str(files("padinv") / "assets" / file))
    if mode:
        raise CheckpointError(f"{path} is {_describe_place(path)}.")
    names = [name for name, networks in BUNDLED.items() if network in networks]
    raise CheckpointError(
        f"There is no file {str(source)!r} to load a {network} from, nor a bundled one of that name; "
        f"give the path of a checkpoint{' or one of ' + str(names) if names else ''}."
    )


def _describe_place(path: Path) -> str:
    """What a path is that is no file, with the mend."""
    if not path.is_dir():
        return "no regular file: copy it to one"
    if (path / ".metadata").exists() or any(path.glob("*.distcp")):
        return "a folder with a distributed checkpoint: make one file of it with torch's dcp_to_torch_save"
    inside = sorted(file.name for file in path.glob("*") if file.suffix in SUFFIXES)
    found = ", such as " + ", ".join(inside[:3]) if inside else ", and there is none of a known ending in it"
    return f"a folder: give the path of a checkpoint{found}"
