"""The names a checkpoint's pickle may use, and padinv's own code for each: tensors, arrays, containers, stand-ins."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from padinv.checkpoints.budget import Budget
from padinv.checkpoints.unpickling import Inert, Symbol, check_key
from padinv.exceptions import CheckpointError

STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "UntypedStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

INERT = re.compile(
    r"""
    argparse\.Namespace | (builtins|__builtin__)\.object |
    pathlib(\._local)?\.(Pure)?(Posix|Windows)?Path |
    torch\.(device|bool|[a-z]+\d+) | torch(\.cuda|\.storage)?\.[A-Za-z0-9]+Storage |
    dnnlib(\.util)?\.EasyDict | dnnlib\.tflib\.network\.Network | tfutil\.Network |    # NVIDIA, TensorFlow
    torch_utils\.persistence\._reconstruct_persistent_obj |                            # NVIDIA, PyTorch
    torch\.nn\.modules\.\w+\.\w+ | (pg_modules|timm)\.[\w.]+ |                         # in StyleGAN-XL, refused later
    (pytorch_)?lightning\.[\w.]+\.AttributeDict
    """,
    re.VERBOSE,
)
"""Names whose objects become inert stand-ins."""


def find(name: str) -> Symbol:
    """Looks a name up on the allow-list.

    Raises:
        CheckpointError: if it is not there.

    >>> find("os.system")
    Traceback (most recent call last):
    padinv.exceptions.CheckpointError: it asks for os.system, which is no part of a checkpoint; nothing of it was run
    """
    if name in CALLS:
        return Symbol(name, CALLS[name])
    if INERT.fullmatch(name):
        return Symbol(name)
    shown = name if len(name) <= 100 else f"{name[:100]}…"
    raise CheckpointError(f"it asks for {shown}, which is no part of a checkpoint; nothing of it was run")


@dataclass(frozen=True)
class Storage:
    """A tensor's memory.

    Attributes:
        flat: all of it, one-dimensional.
    """

    flat: Tensor


def storage_type(symbol: Any) -> torch.dtype:
    """The type of a storage's numbers from the name of its class."""
    name = symbol.name.rpartition(".")[2] if isinstance(symbol, Symbol) else ""
    if name not in STORAGES:
        raise CheckpointError(f"it has a storage of unknown type {name}")
    return STORAGES[name]


def check_shape(shape: Any) -> tuple[int, ...]:
    """Returns a shape, or strides: at most eight numbers, none negative."""
    if not isinstance(shape, tuple) or len(shape) > 8 or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
        raise CheckpointError("it has a tensor without a proper shape")
    return shape


def _tensor(budget: Budget, storage: Storage, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    """``torch._utils._rebuild_tensor`` and ``_v2``, which also has requires_grad and hooks."""
    size, stride = check_shape(size), check_shape(stride)
    (offset,) = check_shape((offset,))
    if not isinstance(storage, Storage) or len(size) != len(stride):
        raise CheckpointError("it has a tensor without a storage")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if prod(size) and last >= len(storage.flat):
        raise CheckpointError(f"it has a tensor of shape {size} in a storage of {len(storage.flat)} numbers")
    # Strides may show the same number many times: what counts is what a copy of the tensor would take.
    budget.spend("tensors", prod(size) * storage.flat.element_size())
    return storage.flat.as_strided(size, stride, offset)


def _parameter(_: Budget, data: Tensor, *__: Any) -> Tensor:
    """``torch._utils._rebuild_parameter``, with requires_grad and hooks."""
    return data


def _load_from_bytes(budget: Budget, content: bytes) -> Storage:
    """``torch.storage._load_from_bytes``: a storage as a torch.save file of its own."""
    from padinv.checkpoints.torch_files import read_storage

    return read_storage(content, budget)


class _DType:
    """``numpy.dtype``: a number's kind and size; its byte order comes as the state."""

    def __init__(self, _: Budget, code: str, *__: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?([iuf][1248]|b1)", code) or code[-2:] == "f1":
            raise CheckpointError("it has an array of something else than plain numbers")
        self.dtype = np.dtype(code)

    def set_state(self, _: Budget, state: Any) -> None:
        """Takes ``(version, byte order, …)``."""
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise CheckpointError("it has an array of unknown byte order")
        self.dtype = self.dtype.newbyteorder(order)


class Array:
    """An array of numpy's.

    Attributes:
        value: what it is.
    """

    def __init__(self, value: np.ndarray[Any, Any] | None = None) -> None:
        self.value = np.zeros(0, np.float32) if value is None else value

    def set_state(self, budget: Budget, state: Any) -> None:
        """Takes ``(version, shape, dtype, whether columns come first, bytes)``."""
        _, shape, kind, columns_first, raw = state
        self.value = _array(budget, raw, kind, shape, "F" if columns_first else "C").value


def _array(budget: Budget, raw: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> Array:
    """``numpy._core.numeric._frombuffer``."""
    raw = raw.encode("latin-1") if isinstance(raw, str) else raw  # Python 2 had no bytes
    if not isinstance(raw, bytes | bytearray) or not isinstance(kind, _DType) or order not in ("C", "F", "K"):
        raise CheckpointError("it has an array that is not made of plain bytes")
    if prod(check_shape(shape)) * kind.dtype.itemsize != len(raw):
        raise CheckpointError(f"it has an array of shape {shape} in {len(raw)} bytes")
    budget.spend("tensors", len(raw))
    value = np.frombuffer(raw, kind.dtype)
    return Array(value.reshape(shape).transpose(axes) if order == "K" else value.reshape(shape, order=order))


def _scalar(_: Budget, kind: _DType, raw: Any = b"") -> int | float:
    """``numpy.core.multiarray.scalar``."""
    raw = raw.encode("latin-1") if isinstance(raw, str) else raw
    value: int | float = np.frombuffer(raw, kind.dtype, count=1).item()
    return value


def _encode(budget: Budget, text: str, encoding: str = "latin1") -> bytes:
    """``_codecs.encode``, as which protocol 2 writes bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise CheckpointError("it encodes text in a way that no checkpoint needs")
    budget.spend("text", len(text))
    return text.encode("latin-1")


def _members(budget: Budget, values: Sequence[Any]) -> list[Any]:
    if not isinstance(values, list | tuple):
        raise CheckpointError(f"it makes a container of a {type(values).__name__}")
    budget.spend("steps", len(values))
    return list(values)


def _ordered_dict(budget: Budget, pairs: Sequence[Any] = ()) -> dict[Any, Any]:
    return {check_key(key): value for key, value in _members(budget, pairs)}


def _default_dict(_: Budget, *__: Any) -> dict[Any, Any]:
    return {}


def _set(budget: Budget, values: Sequence[Any] = ()) -> set[Any]:
    return set(map(check_key, _members(budget, values)))


def _sequence(_: Budget, values: Any) -> tuple[Any, ...]:
    """``torch.Size``."""
    if not isinstance(values, tuple):
        raise CheckpointError("it has a size that is no tuple")
    return values


def _reconstructor(_: Budget, symbol: Symbol, *__: Any) -> Inert:
    """``copyreg._reconstructor``, as which protocols 0 and 1 write objects."""
    if not isinstance(symbol, Symbol) or symbol.call is not None:
        raise CheckpointError("it makes an object of something that is no class")
    return Inert(symbol.name)


CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": _default_dict,
    "torch.Size": _sequence,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.storage._load_from_bytes": _load_from_bytes,
    "_codecs.encode": _encode,
    "numpy.dtype": _DType,
    **{f"{module}.{name}": _set for module in ("builtins", "__builtin__") for name in ("set", "frozenset")},
    **{f"{module}._reconstructor": _reconstructor for module in ("copyreg", "copy_reg")},
    **{f"numpy.{core}.multiarray._reconstruct": lambda *_: Array() for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _array for core in ("core", "_core")},
    "numpy.ndarray": lambda *_: Array(),
}
"""Functions and classes of the allow-list that are stood in for by a function of ours; the budget comes first."""
