"""Tensors and arrays that other tools have saved, alone or in dictionaries: ``.pt``, ``.npy``, ``.npz``, pickles.

NumPy pickles a dictionary into an ``.npy`` file, and runs code from such a file when it reads one. Here the machine
that reads checkpoints (:mod:`.machine`) reads it, and runs nothing.
"""

from __future__ import annotations

import io
import zipfile
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from padinv.checkpoints.pickles.calls import Array, check_shape
from padinv.checkpoints.pickles.machine import Budget, Inert, Unpickler
from padinv.checkpoints.pickles.torch_files import ZIP_MAGIC, find, read_pickle
from padinv.exceptions import CheckpointError, PadInvError
from padinv.typing import PathLike

NPY_MAGIC = b"\x93NUMPY"
INFLATION = 16
"""How many times its size an ``.npz`` file may unpack to, beyond 64 MiB: weights hardly compress at all."""

DEEPEST = 16
"""How deeply dictionaries and lists may be nested."""


def read_arrays(path: PathLike) -> Any:
    """Reads a file of arrays, whose content tells its format; nothing in it is run.

    Args:
        path: a file of ``torch.save``, ``numpy.save``, ``numpy.savez`` or ``pickle``.

    Returns:
        A tensor, or the containers of tensors: dictionaries, lists, text, numbers. Other objects are None.

    Raises:
        CheckpointError: if there is no such file, it is damaged, holds no arrays, or more than its size allows.
    """
    path = Path(path)
    try:
        budget = Budget(path.stat().st_size)
        with path.open("rb") as file:
            magic = file.read(len(NPY_MAGIC))
        if magic == NPY_MAGIC:
            content = _read_npy(path.read_bytes(), budget)
        else:
            arrays = _read_npz(path, budget) if magic.startswith(ZIP_MAGIC) else None
            content = arrays or read_pickle(path)
        return _plain(content, budget)
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no file {path}.") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    except PadInvError as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    except Exception as error:  # a damaged file, or one made to do harm, can break any step in any way
        raise CheckpointError(
            f"{path} cannot be read: it is damaged, or no file of arrays ({type(error).__name__}); save or copy it "
            "again."
        ) from error


def _read_npy(data: bytes, budget: Budget) -> Any:
    file = io.BytesIO(data)
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):  # version 3.0 is only for records whose names are not ASCII
        raise CheckpointError("it holds records, not plain numbers")
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, columns_first, dtype = read_header(file)
    if dtype.hasobject:
        return Unpickler(file, budget, find).load()
    if dtype.kind not in "fiub":
        raise CheckpointError(f"it holds {dtype}, not plain numbers")
    count = prod(check_shape(shape))
    if len(data) - file.tell() < count * dtype.itemsize:
        raise CheckpointError(f"it ends early: its header promises {count} numbers")
    array = np.frombuffer(data, dtype, count, offset=file.tell())
    return Array(array.reshape(shape, order="F" if columns_first else "C"))


def _read_npz(path: Path, budget: Budget) -> dict[str, Any]:
    """Reads the arrays of a zip archive by their names; none if it is another archive, such as torch.save's."""
    with zipfile.ZipFile(path) as archive:
        members = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
        allowed = INFLATION * budget.size + 2**26
        if sum(entry.file_size for entry in members) > allowed:
            raise CheckpointError(f"it would unpack to more than {allowed >> 20} MiB")
        read = {PurePosixPath(entry.filename).stem: archive.read(entry) for entry in members}
    unpacked = Budget(sum(map(len, read.values())))
    return {name: _read_npy(data, unpacked) for name, data in read.items()}


def _plain(content: Any, budget: Budget, depth: int = 0) -> Any:
    """Converts arrays to tensors with memory of their own, keeps plain values and containers; the rest is None."""
    budget.spend("steps")
    if depth > DEEPEST:
        raise CheckpointError(f"its dictionaries are more than {DEEPEST} deep in one another")
    if isinstance(content, Array):
        if content.objects is not None:
            values = [_plain(value, budget, depth + 1) for value in content.objects]
            return values[0] if len(values) == 1 and not content.shape else values
        return torch.from_numpy(np.array(content.value, content.value.dtype.newbyteorder("=")))
    if isinstance(content, Tensor):
        return content.detach().clone(memory_format=torch.contiguous_format)
    if isinstance(content, dict) and not isinstance(content, Inert):
        return {key: _plain(value, budget, depth + 1) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value, budget, depth + 1) for value in content]
    return content if isinstance(content, str | bool | int | float) else None
