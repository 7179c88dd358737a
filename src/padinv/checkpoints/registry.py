"""The networks that come with padinv, by name."""

from __future__ import annotations

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


def resolve(source: PathLike, network: str) -> Path:
    """Finds the file behind a path, or behind the name of a bundled model.

    Args:
        source: a path, or a name of :data:`BUNDLED`.
        network: "Generator", "Discriminator" or "PadInvEncoder".

    Raises:
        CheckpointError: if there is neither such a file nor such a name.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if file := BUNDLED.get(str(source), {}).get(network):
        return Path(str(files("padinv") / "assets" / file))
    names = [name for name, networks in BUNDLED.items() if network in networks]
    raise CheckpointError(
        f"There is no file {str(source)!r} to load a {network} from, nor a bundled one of that name; "
        f"give the path of a checkpoint{' or one of ' + str(names) if names else ''}."
    )
