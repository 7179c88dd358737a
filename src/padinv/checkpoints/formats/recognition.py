"""From a file to what it holds: the kind of container and the format of its networks, told by the content alone."""

from __future__ import annotations

import mmap
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from padinv.checkpoints.formats import genforce, hammer, lightning, nvidia_ada, nvidia_tf, psp, rosinality
from padinv.checkpoints.formats.refused import recognise
from padinv.checkpoints.formats.state_dicts import MOST_KEYS, Reader
from padinv.checkpoints.formats.wrapping import View, unwrap, views
from padinv.checkpoints.native import is_safetensors, read_native
from padinv.checkpoints.pickles.budget import Budget
from padinv.checkpoints.pickles.calls import find
from padinv.checkpoints.pickles.first_bytes import LOOKED_AT, is_text, kind_of
from padinv.checkpoints.pickles.machine import Inert, Symbol, Unpickler
from padinv.checkpoints.pickles.torch_files import ZIP_MAGIC, is_stream, read_archive, read_stream
from padinv.exceptions import CheckpointError, PadInvError

FORMATS: tuple[tuple[str, Callable[[Any], dict[str, Reader]]], ...] = tuple(
    (module.FORMAT, module.find) for module in (lightning, psp, rosinality, nvidia_ada, nvidia_tf, genforce, hammer)
)
"""Formats inside of a pickle, with what finds their networks; the one with more around its weights first."""


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        format: of its networks, in words.
        readers: for "Generator", "Discriminator" and "PadInvEncoder", those that are there, what reads them.
        classes: how many classes they are conditioned on; 0 if unconditional.
        generator: fingerprint of the generator that the encoder was trained for, if the file says so.
    """

    format: str
    readers: dict[str, Reader]
    classes: int = 0
    generator: str | None = None


def read_content(path: Path) -> Content:
    """Reads a file of any known format; no code in it is run, no module it names is imported.

    Raises:
        CheckpointError: if it is damaged, asks for more than tensors, or is of another format or architecture.
    """
    try:
        if is_safetensors(path):
            description, state = read_native(path)
            readers: dict[str, Reader] = {description["network"]: lambda _: (description["config"], dict(state))}
            return Content("padinv (.safetensors)", readers, generator=description["generator"])
        content = unwrap(unpickle(path))
        other = recognise(content)
        if other is None and (found := _find(content)):
            return found
    except PadInvError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    except PermissionError as error:
        raise CheckpointError(f"{path} may not be read by this user ({error.strerror}).") from error
    except Exception as error:  # a damaged file, or one made to do harm, can break any step in any way
        raise CheckpointError(
            f"{path} cannot be read: it is damaged, or no checkpoint; copy or download it again."
        ) from error
    if other is not None:
        raise CheckpointError(f"{path} holds {other}, but padinv works with StyleGAN2 alone.")
    raise CheckpointError(
        f"{path} holds no Generator, Discriminator or PadInvEncoder of a known format, but {_describe(content)}."
    )


def _describe(content: Any) -> str:
    """What an unknown file holds: the first keys, and a class, if it is its objects that the networks may be in."""
    if isinstance(content, Symbol):
        return f"{content}, of which nothing was run"
    values = list(content.values()) if isinstance(content, dict) else [content]
    models = content.get("models") if isinstance(content, dict) else None
    values += list(models.values()) if isinstance(models, dict) else []
    objects = [value for value in [content, *values[:MOST_KEYS]] if isinstance(value, Inert)]
    parts = []
    if isinstance(content, dict) and content:
        names = (
            f"{str(key)[:100]}{' (empty)' if value is None and isinstance(key, str) else ''}"
            for key, value in content.items()
        )
        parts.append(str(sorted(names)[:5]))
    if objects:
        parts.append(
            f"{objects[0]}, which padinv neither imports nor runs: save the state_dict() of its networks instead"
        )
    elif weights := [
        (key, weight)
        for state in [content, *values]
        if isinstance(state, dict)
        for key, weight in list(state.items())[:MOST_KEYS]
        if isinstance(key, str) and "." in key and isinstance(weight, Inert)
    ]:
        parts.append(f"{weights[0][0][:100]!r} is {weights[0][1]} in place of a tensor")
    return ", and ".join(parts) or type(content).__name__


def _find(content: Any) -> Content | None:
    """Finds the networks of one format: those of the content itself first, others in its parts."""
    parts = views(content)
    for search in ([content], parts):
        for name, find_networks in FORMATS:
            if any(find_networks(part) for part in search):
                readers = find_networks(content)
                _find_inside(parts, find_networks, readers)
                classes = max(nvidia_ada.classes(part) for part in (content, *parts))
                return Content(name, readers, classes, lightning.trained_for(content))
    return None


def _find_inside(
    parts: list[View], find_networks: Callable[[Any], dict[str, Reader]], readers: dict[str, Reader]
) -> None:
    """Adds networks that only parts of a content hold.

    Raises:
        CheckpointError: if several could be the same network, and nothing tells which is meant.
    """
    owners: dict[str, View] = {}
    outside = set(readers)
    for part in parts:
        for network, reader in find_networks(part).items():
            if network in outside:
                continue
            owner = owners.setdefault(network, part)
            if owner is part:
                readers[network] = reader
            elif owner.rank == part.rank and not owner.holds_same(part):
                raise CheckpointError(
                    f"it holds several networks that may be its {network} ({owner.name} and {part.name}): "
                    "keep one of them in a file"
                )


def unpickle(path: Path) -> Any:
    """Reads a pickle, or a file of ``torch.save`` of either kind.

    Raises:
        CheckpointError: if it is something else, which the message says; without the name of the file.
        Exception: of many kinds, if it is damaged.
    """
    size = path.stat().st_size
    if not size:
        raise CheckpointError("it is empty; copy or download it again")
    budget = Budget(size)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        start, last = mapped[:LOOKED_AT], mapped[-1:]
        if what := kind_of(start):
            raise CheckpointError(f"it is {what}")
        try:
            if start.startswith(ZIP_MAGIC):
                return read_archive(file, budget, mapped.find)
            if is_stream(start[:64]):
                return read_stream(mapped, budget)
            return Unpickler(mapped, budget, find).load()
        except zipfile.BadZipFile as error:
            raise CheckpointError("it ends early, or is damaged; copy or download it again") from error
        except Exception as error:
            # Pickles may be text, too, but end with a dot, and break further on.
            if is_text(start) and last != b"." and mapped.tell() < 2**16:
                raise CheckpointError("it is text, such as a configuration or a log, not a checkpoint") from error
            if mapped.tell() >= size and not isinstance(error, PadInvError):
                raise CheckpointError("it ends early; copy or download it again") from error
            raise
