"""Directions in other tools' files: InterFaceGAN's boundaries, GANSpace's components, SeFa's factors, plain tensors.

None of these files names its generator. The content of a file decides what it is, not its name. No code in it is run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from padinv.checkpoints.pickles.arrays import read_arrays
from padinv.editing.directions import Direction
from padinv.editing.layers import parse_layers
from padinv.exceptions import CheckpointError, ConfigError
from padinv.typing import PathLike

COMPONENTS = {"lat_comp": "lat_stdev", "comp": "std", "act_comp": "act_stdev"}
"""GANSpace's words for components and for their standard deviations; the second pair is e4e's."""

NAMELESS = ("arr_0", "boundary", "coef", "coef_", "data", "direction", "latent", "normal", "vector", "w", "w_plus")
"""Words for the only direction in a file that do not name it; it is named after the file."""

MOST_LAYERS = 64
"""The numbers of latents in a file of factors are below this."""


def import_directions(path: PathLike) -> list[Direction]:
    """Reads all directions of a file that another tool wrote.

    Args:
        path: a file of ``torch.save``, ``numpy.save``, ``numpy.savez`` or ``pickle``. It holds one of these:

            - one direction, (w_dim,) or (1, w_dim), in W+ (L, w_dim) or (1, L, w_dim), named after the file; or N of
              them, (N, 1, w_dim);
            - GANSpace's dictionary of components (N, 1, w_dim) and standard deviations (N,), which become the step of
              strength 1;
            - a dictionary of SeFa's eigenvectors, one in each row of ``eigen_vectors`` or ``boundaries``, or in each
              column of ``eigvec``, as rosinality has them; with or without ``eigen_values`` and ``layers``;
            - a dictionary of directions by name, or of one, called ``boundary`` or so, and its ``intercept``.

    Returns:
        The directions. Strength 1 is the length of the vector in the file, except for GANSpace's.

    Raises:
        CheckpointError: if the file cannot be read, or holds something else.
    """
    path = Path(path)
    content = read_arrays(path)
    try:
        directions = list(_directions(content, path.stem))
    except (ConfigError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"{path} holds no directions: {error}") from error
    if not directions or len({direction.vector.shape[1] for direction in directions}) > 1:
        raise CheckpointError(
            f"{path} holds no directions: give a file of save_directions, a tensor or array (1, w_dim) or (L, w_dim), "
            "or what GANSpace or SeFa saved."
        )
    return directions


def import_boundary(path: PathLike, name: str | None = None, intercept: float | PathLike | None = None) -> Direction:
    """Reads a file of one direction, such as a boundary of InterFaceGAN's.

    Args:
        path: as for :func:`import_directions`.
        name: the name of the direction; the file's, without its suffix, if not given.
        intercept: the intercept of the hyperplane, a number or a file of one number. InterFaceGAN's own files do not
            have it.

    Returns:
        The direction with the vector as it is in the file, as a rule of length 1.

    Raises:
        CheckpointError: if a file is not there, is damaged, or holds something else.
    """
    directions = import_directions(path)
    if len(directions) != 1:
        raise CheckpointError(f"{path} holds {len(directions)} directions: read them with load_directions.")
    if isinstance(intercept, str | os.PathLike):
        number = read_arrays(intercept)
        count = number.numel() if isinstance(number, Tensor) else 0
        if count != 1:
            raise CheckpointError(f"{intercept} holds {count} numbers, but an intercept is one.")
        intercept = float(number)
    (direction,) = directions
    own = direction.intercept if intercept is None else intercept
    return replace(direction, name=name or direction.name, intercept=own)


def _directions(content: Any, name: str) -> Iterator[Direction]:
    if isinstance(content, Tensor):
        yield from _plain(content, name)
    elif isinstance(content, list):
        for i, value in enumerate(content):
            yield from _directions(value, f"{name}-{i}")
    elif not isinstance(content, Mapping):
        return
    elif components := next((key for key in COMPONENTS if isinstance(content.get(key), Tensor)), None):
        yield from _components(content, components)
    elif factors := next((key for key in ("eigen_vectors", "eigvec", "boundaries") if key in content), None):
        yield from _factors(content, factors)
    else:
        yield from _named(content, name)


def _plain(tensor: Tensor, name: str) -> Iterator[Direction]:
    if not tensor.is_floating_point() or not 1 <= tensor.ndim <= 3:
        raise ConfigError(
            f"{name} is of {tensor.dtype} and shape {tuple(tensor.shape)}, and not (1, w_dim), (L, w_dim)."
        )
    if tensor.ndim == 3 and len(tensor) != 1 and tensor.shape[1] == 1:
        for i, vector in enumerate(tensor):
            yield Direction(f"{name}-{i}", vector.float())
    else:
        yield Direction(name, (tensor[0] if tensor.ndim == 3 and len(tensor) == 1 else tensor).float())


def _components(content: Mapping[Any, Any], key: str) -> Iterator[Direction]:
    """GANSpace's principal components, whose strengths are standard deviations."""
    components = content[key].float()
    deviations = content.get(COMPONENTS[key])
    steps = deviations.float().flatten() if isinstance(deviations, Tensor) else torch.ones(len(components))
    shares = content.get("var_ratio")
    for i, (component, step) in enumerate(zip(components, steps, strict=True)):
        facts = {"variance_share": float(shares[i])} if isinstance(shares, Tensor) else {}
        yield Direction(f"ganspace-{i}", component.squeeze() * step, kind="ganspace", metadata=facts)


def _factors(content: Mapping[Any, Any], key: str) -> Iterator[Direction]:
    """SeFa's eigenvectors."""
    vectors = torch.as_tensor(content[key]).float()
    vectors = vectors.T if key == "eigvec" else vectors.reshape(-1, vectors.shape[-1])
    values, layers = content.get("eigen_values", content.get("values")), content.get("layers")
    moved = None
    if layers is not None and layers != "all":
        numbers = layers.flatten().tolist() if isinstance(layers, Tensor) else layers
        moved = parse_layers(numbers if isinstance(numbers, str) else [int(n) for n in numbers], MOST_LAYERS)
    for i, vector in enumerate(vectors):
        facts = {} if values is None else {"eigenvalue": float(values[i])}
        yield Direction(f"sefa-{i}", vector, moved, kind="sefa", metadata=facts)


def _named(content: Mapping[Any, Any], name: str) -> Iterator[Direction]:
    """Directions by name. A single one may have an intercept beside it, and is named after the file."""
    numbers = {key: value for key, value in content.items() if not isinstance(value, Tensor) or value.numel() == 1}
    vectors = {key: value for key, value in content.items() if key not in numbers and isinstance(value, Tensor)}
    if len(vectors) == 1:
        intercept = next((float(numbers[key]) for key in ("intercept", "bias") if numbers.get(key) is not None), None)
        ((key, vector),) = vectors.items()
        for direction in _plain(vector, name if key in NAMELESS else str(key)):
            yield replace(direction, intercept=intercept)
        return
    for key, value in vectors.items():
        yield from _plain(value, str(key))
