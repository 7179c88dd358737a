"""Files of directions: padinv's safetensors, several to a file, and those of other tools."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from padinv.checkpoints import fingerprint
from padinv.checkpoints.cache import fetch_from_hub
from padinv.checkpoints.native import is_safetensors, read_described, save_tensors
from padinv.checkpoints.pair import hub_repository
from padinv.checkpoints.sources import is_bundled
from padinv.codes import InversionCode
from padinv.editing.directions import Direction
from padinv.editing.imported import import_directions
from padinv.exceptions import CheckpointError, ConfigError
from padinv.files import local_path
from padinv.networks import Generator
from padinv.typing import PathLike

FILE_NAME = "directions.safetensors"
"""The file of directions in a model's folder."""


class Directions(dict[str, Direction]):
    """Directions by name, in the order of their file. The error for an unknown name lists the known ones."""

    def __missing__(self, name: str) -> Direction:
        raise ConfigError(f"There is no direction {name!r}; there are: {', '.join(self)}.")


def save_directions(directions: Iterable[Direction], path: PathLike) -> Path:
    """Writes directions to a safetensors file: vectors, padding, features as tensors, the rest as JSON in the metadata.

    Args:
        directions: what to write, each of another name.
        path: the file, usually ending in .safetensors.

    Returns:
        The path.

    Raises:
        CheckpointError: if it cannot be written.
        ConfigError: if two have the same name, or there are none.
    """
    directions = list(directions)
    names = [direction.name for direction in directions]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"A file of directions needs one or more, each of its own name, not {names}.")
    facts = [
        {
            "name": direction.name,
            "layers": direction.layers,
            "intercept": direction.intercept,
            "kind": direction.kind,
            "generator": direction.fingerprint,
            "metadata": dict(direction.metadata),
        }
        for direction in directions
    ]
    description = {"network": "Directions", "config": {"directions": facts}}
    tensors = {
        f"{direction.name}/{part}": tensor.clone(memory_format=torch.contiguous_format)
        for direction in directions
        for part, tensor in _named_tensors(direction).items()
    }
    return save_tensors(tensors, path, description)


def load_directions(source: PathLike, generator: Generator | str | None = None) -> Directions:
    """Reads the directions of a file.

    Args:
        source: a name of a bundled model ("congress64"), a file of :func:`save_directions`, a folder or a repository
            (``hf://owner/name``) with such a ``directions.safetensors``, or what other tools wrote
            (:func:`import_directions`).
        generator: the one that they must be for, or its fingerprint. It is not checked if it is not given, nor for a
            direction that does not know its own.

    Returns:
        The directions by name.

    Raises:
        CheckpointError: if there is no such file or name, it is damaged or holds no directions, or they are for another
            generator.
    """
    path = _resolve(source)
    if path.suffix.lower() != ".safetensors":
        return Directions({direction.name: direction for direction in import_directions(path)})
    try:
        description, tensors = read_described(path) if is_safetensors(path) else ({}, {})
        if description.get("network") != "Directions":
            raise CheckpointError(f"{path} holds no directions: give a file of save_directions, .pt, .npy or .npz.")
        directions = Directions(
            {str(fact["name"]): _read(fact, tensors) for fact in description["config"]["directions"]}
        )
    except (KeyError, TypeError, AttributeError, ConfigError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): write or copy it again.") from error
    wanted = fingerprint(generator) if isinstance(generator, Generator) else generator
    for direction in directions.values():
        if wanted and direction.fingerprint and direction.fingerprint != wanted:
            raise CheckpointError(
                f"The direction {direction.name!r} of {path} is for the generator {direction.fingerprint}, not for "
                f"{wanted}: find directions of this generator."
            )
    return directions


def _resolve(source: PathLike) -> Path:
    if (repository := hub_repository(source)) is not None:
        return fetch_from_hub(repository, FILE_NAME)
    path = local_path(source)
    if path.is_file():
        return path
    bundled = Path(str(files("padinv") / "assets")) / f"{path}-{FILE_NAME}"
    if is_bundled(source) and bundled.is_file():
        return bundled
    if (path / FILE_NAME).is_file():
        return path / FILE_NAME
    raise CheckpointError(
        f"There are no directions at {str(source)!r}: give a file of directions, a folder with a {FILE_NAME}, "
        "or the name of a bundled model that has them."
    )


def _named_tensors(direction: Direction) -> dict[str, torch.Tensor]:
    """A direction's tensors, named as those of a code are, and "normal_R"."""
    named = InversionCode(direction.vector[None], direction.padding, direction.features).named_tensors()
    return named | {f"normal_{r}": tensor for r, tensor in (direction.normal or {}).items()}


def _read(fact: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Direction:
    name, layers, intercept = str(fact["name"]), fact["layers"], fact["intercept"]
    parts = (key.rpartition("/") for key in tensors)
    own = {part: tensors[f"{name}/{part}"] for of, _, part in parts if of == name}
    normal = {int(part.removeprefix("normal_")): own.pop(part) for part in list(own) if part.startswith("normal_")}
    code = InversionCode.from_named_tensors(own)
    return Direction(
        name,
        code.w_plus[0],
        None if layers is None else tuple(layers),
        None if intercept is None else float(intercept),
        fact["kind"],
        fact["generator"],
        fact["metadata"],
        code.padding,
        code.features,
        normal or None,
    )
