"""padinv's own files: safetensors with one network and its configuration, and the checkpoints of training runs.

In the former, the configuration is JSON in the metadata. In the latter, it is an entry beside the weights.
"""

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

from padinv.checkpoints.formats.state_dicts import MOST_KEYS, Config, Kind, Reader, Readers, State, tensors
from padinv.exceptions import CheckpointError
from padinv.files import local_path, writing
from padinv.networks import Discriminator, Generator, PadInvEncoder
from padinv.networks.encoder import level_nearest
from padinv.typing import PathLike

METADATA_KEY = "padinv"

UNSEEN: dict[str, Any] = {
    "conv_clamp": None,
    "mbstd_group_size": 4,
    "first_for_all": False,
    "resize_to_rings": False,
    "style_scales_rings": False,
    "passes": 1,
}
"""Options that change what a network computes without changing a tensor's shape, with the values from before they were
options."""

FIRST_NAMES = {"mbstd_group_size": "mbstd_groups"}
"""The first names of options, which fingerprints still use, so that they stay the same."""

OTHER_KEYS = {"padinv_inversion": "of codes of photographs, not of a network"}
"""What padinv's other safetensors files hold, by the key of their metadata."""

LIGHTNING_KEY = "padinv"
"""The key under which a checkpoint of PadInvModule or StyleGAN2Module keeps the configurations of its networks."""

PREFIXES: dict[Kind, tuple[str, ...]] = {
    PadInvEncoder: ("encoder_ema.", "encoder."),
    Generator: ("generator_ema.",),
    Discriminator: ("discriminator.",),
}
"""Where each network stands in a run's state. A run that kept a moving average has it at the first place."""

MOST_VALUES = 100_000
"""The most values in a JSON description; that of a thousand faces' codes has 30,000."""


def save_network(
    network: nn.Module, path: PathLike, dtype: torch.dtype | None = None, *, generator: str | None = None
) -> Path:
    """Writes a network that has a ``config``: a Generator, a Discriminator or a PadInvEncoder.

    Args:
        network: what to write.
        path: the file, usually ending in .safetensors.
        dtype: of the stored floating-point numbers, for instance ``torch.float16`` for half the size; unchanged if not
            given. Tensors with numbers too large for it, such as variances, stay as they are. Loading always gives
            float32.
        generator: the :func:`fingerprint` of the generator that an encoder was trained for.

    Returns:
        The path.

    Raises:
        CheckpointError: if it cannot be written.
    """
    description = {"network": type(network).__name__, "config": network.config, "generator": generator}
    state = {key: _narrowed(tensor.detach().cpu(), dtype) for key, tensor in network.state_dict().items()}
    return save_tensors(state, path, description)


def _narrowed(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Casts floating-point numbers, unless that would make infinities of them."""
    if dtype is None or not tensor.is_floating_point():
        return tensor
    narrow = tensor.to(dtype)
    return narrow if torch.equal(narrow.isinf(), tensor.isinf()) else tensor


def save_tensors(
    tensors: Mapping[str, Tensor], path: PathLike, description: Mapping[str, Any], key: str = METADATA_KEY
) -> Path:
    """Writes tensors and a description in JSON; the file is there as a whole or not at all.

    Args:
        tensors: what to write, by name, from any device.
        path: the file.
        description: what the metadata says of them.
        key: the name of the description in the metadata.

    Returns:
        The path.

    Raises:
        CheckpointError: if it cannot be written.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with writing(path) as part:
        try:
            save_file(stored, str(part), metadata={key: json.dumps(description)})
        except SafetensorError as error:  # safetensors' message for a full disk
            code = re.search(r"(?:os error|code:) (\d+)", str(error))  # the latter before 0.5
            raise (OSError(int(code[1]), os.strerror(int(code[1]))) if code else OSError(str(error))) from error
    return local_path(path)


@contextmanager
def opened(path: PathLike) -> Iterator[Any]:
    """Opens a safetensors file of any name to read from it: safetensors itself only takes names in UTF-8."""
    text = os.fspath(path)
    with ExitStack() as stack:
        if not text.isascii() and text != text.encode(errors="replace").decode():
            text = f"/dev/fd/{stack.enter_context(Path(path).open('rb')).fileno()}"
        stack.enter_context(torch.device("cpu"))  # safetensors before 0.5 reads onto torch's default device
        yield stack.enter_context(safe_open(text, framework="pt"))


def is_safetensors(path: Path) -> bool:
    """Tells whether a file starts like safetensors: the length of a JSON object, then its brace."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < 2**32  # text would give a much larger length


def read_described(path: Path) -> tuple[dict[str, Any], State]:
    """Reads a safetensors file that padinv wrote: its description (:func:`parse_metadata`), its tensors as stored.

    Raises:
        CheckpointError: if the file is damaged, or padinv did not write it.
    """
    metadata, state = read_tensors(path)
    if description := parse_metadata(metadata, path):
        return description, state
    raise CheckpointError(f"{path} is a safetensors file, but not of padinv: its metadata has no {METADATA_KEY!r}.")


def parse_metadata(metadata: Mapping[str, str], path: Path) -> dict[str, Any] | None:
    """Reads what a safetensors file of one network says of it.

    Returns:
        {"network": the name of its class, "config": its configuration, "generator": what it was trained for, or None}.
        None if padinv did not write the file: other tools store a network's tensors alone.

    Raises:
        CheckpointError: if the description is damaged, or the file is padinv's and not of a network.
    """
    if METADATA_KEY not in metadata:
        if other := next((what for key, what in OTHER_KEYS.items() if key in metadata), None):
            raise CheckpointError(f"{path} is a safetensors file, but {other}: its metadata has no {METADATA_KEY!r}.")
        return None
    description = {"generator": None, **parse_description(metadata[METADATA_KEY], path)}
    known = isinstance(description.get("network"), str) and isinstance(description.get("config"), dict)
    if not known or not isinstance(description["generator"], str | None):
        raise CheckpointError(f"{path} is damaged: its metadata does not say what it holds; copy or download it again.")
    return description


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Reads any safetensors file: its metadata, and its tensors by name.

    Raises:
        CheckpointError: if it is damaged, or claims more than networks and codes have.
    """
    size = path.stat().st_size
    with path.open("rb") as start:
        header = int.from_bytes(start.read(8), "little")
    if header > size - 8:
        raise CheckpointError(f"{path} cannot be read: it is damaged (it ends early); copy or download it again.")
    # A small file must not claim many empty tensors, which take a few bytes on disk and a thousand in memory each.
    if header > 2**20 + size // 16:
        raise CheckpointError(f"{path} cannot be read: its header of {header} bytes is more than its tensors need.")
    try:
        with opened(path) as file:
            names = list(file.keys())
            if len(names) > MOST_KEYS:
                raise CheckpointError(f"{path} cannot be read: its {len(names)} tensors are more than any network has.")
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        unequal = "incomplete" in str(error).lower()  # the tensors' sizes do not agree with the file's
        problem = "it ends early, or goes on too long" if unequal else "its header makes no sense"
        raise CheckpointError(
            f"{path} cannot be read: it is damaged ({problem}); copy or download it again."
        ) from error


def parse_description(text: str, path: PathLike) -> dict[Any, Any]:
    """Parses the JSON object that describes a padinv file; keys that are numbers become numbers.

    Raises:
        CheckpointError: if it is no JSON object, is nested deeply, or is more than a description has.
    """
    # A list or object takes two or three characters in the file, and a hundred bytes in memory.
    if sum(map(text.count, "[{,")) <= MOST_VALUES:
        try:
            description = json.loads(text, object_pairs_hook=_restore_int_keys)
        except (ValueError, RecursionError):
            description = None
        if isinstance(description, dict):
            return description
    raise CheckpointError(f"{os.fspath(path)} is damaged: its metadata makes no sense; copy or download it again.")


def _restore_int_keys(pairs: list[tuple[str, Any]]) -> dict[Any, Any]:
    """Makes keys numbers again, as resolutions are. Long ones stay text: a file could choose their hashes."""
    return {int(key) if len(key) <= 9 and key.isdecimal() else key: value for key, value in pairs}


def find_in_run(content: Any) -> Readers:
    """Finds the networks of a training run's checkpoint whose configuration and weights are both there."""
    if not isinstance(content, dict) or not isinstance(content.get(LIGHTNING_KEY), dict):
        return {}
    readers: Readers = {}
    for kind, prefixes in PREFIXES.items():
        config = content[LIGHTNING_KEY].get(kind.__name__)
        states = [state for prefix in prefixes if (state := tensors(content.get("state_dict"), prefix))]
        if isinstance(config, dict) and states:
            readers[kind] = stored(config, states[0])
    return readers


def trained_for(content: Any) -> str | None:
    """Reads the fingerprint of the generator that a run's encoder was trained for; None if this is no such run."""
    run = content.get(LIGHTNING_KEY) if isinstance(content, dict) else None
    generator = run.get("generator") if isinstance(run, dict) else None
    return generator if isinstance(generator, str) else None


def stored(config: Config, state: State) -> Reader:
    """Makes a reader for networks that need no translation."""
    return lambda _: (config, dict(state))


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
        before["padding_level"] = level_nearest(network.resolution)
    for option, default in before.items():
        if (value := config.get(option, default)) != default:
            digest.update(f"{FIRST_NAMES.get(option, option)}={value}".encode())
    return digest.hexdigest()[:16]
