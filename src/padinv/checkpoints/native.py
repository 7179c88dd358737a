"""padinv's own files: safetensors, one network a file, its configuration as JSON in the metadata."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from padinv.exceptions import CheckpointError
from padinv.files import writing
from padinv.networks.encoder import PadInvEncoder, published_level
from padinv.typing import PathLike

METADATA_KEY = "padinv"

UNSEEN: dict[str, Any] = {"conv_clamp": None, "mbstd_groups": 4, "first_for_all": False}
"""Options that change what a network computes and that no tensor's shape tells, with the values they had before they
were options."""


def save_network(
    network: nn.Module, path: PathLike, dtype: torch.dtype | None = None, *, generator: str | None = None
) -> Path:
    """Writes a network that has a ``config``: a Generator, a Discriminator or a PadInvEncoder.

    Args:
        network: what to write.
        path: the file, usually ending in .safetensors.
        dtype: to store floating point numbers in, for instance ``torch.float16`` for half the size; as they are if not
            given. Loading always gives float32.
        generator: of an encoder, the :func:`fingerprint` of the generator that it was trained for.

    Returns:
        The path.

    Raises:
        CheckpointError: if it cannot be written.
    """
    description = {"network": type(network).__name__, "config": network.config, "generator": generator}
    state = {
        key: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None)
        for key, tensor in network.state_dict().items()
    }
    return save_tensors(state, path, description)


def save_tensors(
    tensors: Mapping[str, Tensor], path: PathLike, description: Mapping[str, Any], key: str = METADATA_KEY
) -> Path:
    """Writes tensors, and what they are as JSON, such that the file is there as a whole or not at all.

    Args:
        tensors: by name, from any device.
        path: the file.
        description: goes into the metadata.
        key: under which.

    Returns:
        The path.

    Raises:
        CheckpointError: if it cannot be written.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with writing(path) as part:
        try:
            save_file(stored, str(part), metadata={key: json.dumps(description)})
        except SafetensorError as error:  # its words for a full disk
            code = re.search(r"os error (\d+)", str(error))
            raise (OSError(int(code[1]), os.strerror(int(code[1]))) if code else OSError(str(error))) from error
    return Path(path).expanduser()


@contextmanager
def opened(path: PathLike) -> Iterator[Any]:
    """Opens a safetensors file to read from, whatever it is called: safetensors itself takes names in UTF-8 alone."""
    text = os.fspath(path)
    with ExitStack() as stack:
        if not text.isascii() and text != text.encode(errors="replace").decode():
            text = f"/dev/fd/{stack.enter_context(Path(path).open('rb')).fileno()}"
        yield stack.enter_context(safe_open(text, framework="pt"))


def is_safetensors(path: Path) -> bool:
    """Whether a file starts like safetensors: the length of a JSON object, then its brace."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _restore_int_keys(pairs: list[tuple[str, Any]]) -> dict[Any, Any]:
    """JSON has string keys only; a resolution is a number."""
    return {int(key) if key.isdecimal() else key: value for key, value in pairs}


def read_native(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads a file that :func:`save_network` wrote.

    Returns:
        {"network": the name of its class, "config": its configuration, "generator": what it was trained for, or None},
        and its state dict as stored.

    Raises:
        CheckpointError: if the file is damaged, or is safetensors of somebody else.
    """
    try:
        with opened(path) as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged ({error}); copy or download it again.") from error
    if METADATA_KEY not in metadata:
        raise CheckpointError(f"{path} is a safetensors file, but not of padinv: its metadata has no {METADATA_KEY!r}.")
    description = json.loads(metadata[METADATA_KEY], object_pairs_hook=_restore_int_keys)
    return {"generator": None, **description}, state


def fingerprint(network: nn.Module) -> str:
    """Names a network: 16 hexadecimal digits of the SHA-256 of its state dict in float32, and of :data:`UNSEEN`.

    Two networks with the same fingerprint compute the same function, whatever file they came from.
    """
    digest = hashlib.sha256(type(network).__name__.encode())
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    config: dict[str, Any] = getattr(network, "config", {})
    before = dict(UNSEEN)
    if isinstance(network, PadInvEncoder):
        before["padding_level"] = published_level(network.resolution)
    for option, default in before.items():
        if (value := config.get(option, default)) != default:
            digest.update(f"{option}={value}".encode())
    return digest.hexdigest()[:16]
