"""The calls that a pickle may make: each name in a file gets padinv's own code for tensors, arrays or containers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from padinv.checkpoints.pickles.machine import Budget, Inert, Symbol, make_key
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
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "QInt8Storage": torch.int8,  # quantized types, which stay inert
    "QUInt8Storage": torch.uint8,
    "QInt32Storage": torch.int32,
}


def find(name: str) -> Symbol:
    """Looks a name up: one that makes data gets a stand-in to call, any other stays inert."""
    return Symbol(name, CALLS.get(name))


@dataclass(frozen=True)
class Storage:
    """The memory of tensors.

    Attributes:
        flat: the whole memory, one-dimensional.
        views: its tensors, by offset, size and strides, so that two networks share what they share in the file.
    """

    flat: Tensor
    views: dict[tuple[Any, ...], Tensor] = field(default_factory=dict)


def storage_type(symbol: Any) -> torch.dtype:
    """Tells the type of a storage's numbers by the name of its class."""
    name = symbol.name.rpartition(".")[2] if isinstance(symbol, Symbol) else ""
    if name not in STORAGES:
        raise CheckpointError(f"it has a storage of unknown type {name}")
    return STORAGES[name]


def check_shape(shape: Any) -> tuple[int, ...]:
    """Checks and returns a shape, or strides: at most eight numbers, none negative."""
    if not isinstance(shape, tuple) or len(shape) > 8 or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
        raise CheckpointError("it has a tensor without a proper shape")
    return shape


def _tensor(budget: Budget, storage: Storage, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    """Stands for ``torch._utils._rebuild_tensor`` and ``_v2``, which also has requires_grad and hooks."""
    size, stride = check_shape(size), check_shape(stride)
    (offset,) = check_shape((offset,))
    if not isinstance(storage, Storage) or len(size) != len(stride):
        raise CheckpointError("it has a tensor without a storage")
    if (view := (offset, size, stride)) in storage.views:
        return storage.views[view]
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if prod(size) and last >= len(storage.flat):
        raise CheckpointError(f"it has a tensor of shape {size} in a storage of {len(storage.flat)} numbers")
    # Strides may repeat numbers, so that the size of a copy counts, not of the storage.
    budget.spend("tensors", prod(size) * storage.flat.element_size())
    budget.spend("steps", 4)  # even an empty one takes most of a thousand bytes
    storage.views[view] = storage.flat.as_strided(size, stride, offset)
    return storage.views[view]


def _parameter(_: Budget, data: Tensor, *__: Any) -> Tensor:
    """Stands for ``torch._utils._rebuild_parameter`` and ``_with_state``, with requires_grad and hooks."""
    return data


def _subclass(budget: Budget, function: Any, kind: Any, args: Any = (), *_: Any) -> Any:
    """Stands for ``torch._tensor._rebuild_from_type_v2``: tensors of subclasses, or with attributes, become plain."""
    if isinstance(function, Symbol) and function.call in (_tensor, _parameter) and isinstance(args, tuple):
        return function.call(budget, *args)
    budget.spend("steps")
    return Inert(kind.name if isinstance(kind, Symbol) else "torch.Tensor")


class _DType:
    """Stands for ``numpy.dtype``: a number's kind and size; its byte order comes as the state.

    Attributes:
        dtype: None for text, times, records and objects, which are never weights.
    """

    def __init__(self, _: Budget, code: Any = None, *__: Any) -> None:
        plain = isinstance(code, str) and re.fullmatch(r"[<>|=]?([iuf][1248]|b1)", code) and code[-2:] != "f1"
        self.dtype: np.dtype[Any] | None = np.dtype(code) if plain else None

    def set_state(self, _: Budget, state: Any) -> None:
        """Takes ``(version, byte order, …)``."""
        if self.dtype is None:
            return
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise CheckpointError("it has an array of unknown byte order")
        self.dtype = self.dtype.newbyteorder(order)


class Array:
    """A NumPy array.

    Attributes:
        value: the array; empty if it is not of plain numbers.
        objects: its elements, if they are not numbers.
        shape: the shape of the objects.
    """

    objects: list[Any] | None = None
    shape: tuple[int, ...] = ()

    def __init__(self, value: np.ndarray[Any, Any] | None = None) -> None:
        self.value = np.zeros(0, np.float32) if value is None else value

    def set_state(self, budget: Budget, state: Any) -> None:
        """Takes ``(version, shape, dtype, whether columns come first, bytes)``."""
        _, shape, kind, columns_first, raw = state
        if isinstance(kind, _DType) and kind.dtype is None and isinstance(raw, list):
            self.objects, self.shape = raw, check_shape(shape)
        self.value = _array(budget, raw, kind, shape, "F" if columns_first else "C").value


def _array(budget: Budget, raw: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> Array:
    """Stands for ``numpy._core.numeric._frombuffer``."""
    if isinstance(kind, _DType) and kind.dtype is None:
        return Array()
    raw = raw.encode("latin-1") if isinstance(raw, str) else raw  # Python 2 had no bytes
    if (
        not isinstance(raw, bytes | bytearray)
        or not isinstance(kind, _DType)
        or kind.dtype is None
        or order not in ("C", "F", "K")
    ):
        raise CheckpointError("it has an array that is not made of plain bytes")
    if prod(check_shape(shape)) * kind.dtype.itemsize != len(raw):
        raise CheckpointError(f"it has an array of shape {shape} in {len(raw)} bytes")
    budget.spend("tensors", len(raw))
    value = np.frombuffer(raw, kind.dtype)
    return Array(value.reshape(shape).transpose(axes) if order == "K" else value.reshape(shape, order=order))


def _scalar(budget: Budget, kind: _DType, raw: Any = b"") -> int | float | Inert:
    """Stands for ``numpy.core.multiarray.scalar``."""
    if kind.dtype is None:
        budget.spend("steps")
        return Inert("numpy.core.multiarray.scalar")
    raw = raw.encode("latin-1") if isinstance(raw, str) else raw
    value: int | float = np.frombuffer(raw, kind.dtype, count=1).item()
    return value


def _encode(budget: Budget, text: Any = "", encoding: Any = "latin1", *_: Any) -> Any:
    """Stands for ``_codecs.encode``, ``bytes`` and ``bytearray``: protocol 2 writes bytes as such calls."""
    if isinstance(text, bytes | bytearray):
        return text
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        budget.spend("steps")
        return Inert("_codecs.encode")
    budget.spend("text", len(text))
    return text.encode("latin-1")


def _members(budget: Budget, values: Sequence[Any]) -> list[Any]:
    if not isinstance(values, list | tuple):
        raise CheckpointError(f"it makes a container of a {type(values).__name__}")
    budget.spend("steps", len(values))
    return list(values)


def _ordered_dict(budget: Budget, pairs: Sequence[Any] = ()) -> dict[Any, Any]:
    return {make_key(key): value for key, value in _members(budget, pairs)}


def _set(budget: Budget, values: Sequence[Any] = ()) -> set[Any]:
    return set(map(make_key, _members(budget, values)))


def _sequence(_: Budget, values: Any) -> tuple[Any, ...]:
    """Stands for ``torch.Size``."""
    if not isinstance(values, tuple):
        raise CheckpointError("it has a size that is no tuple")
    return values


def _reconstructor(budget: Budget, kind: Any, base: Any = None, state: Any = None) -> Inert:
    """Stands for ``copyreg._reconstructor``: protocols 0 and 1 write objects as such calls, with items as the state."""
    made = Inert(kind.name if isinstance(kind, Symbol | Inert) else "builtins.object")
    if isinstance(state, dict):
        budget.spend("steps", len(state))
        made.update(state)
    return made


CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": lambda *_: {},
    "torch.Size": _sequence,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type": _subclass,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "_codecs.encode": _encode,
    **{f"{module}.{name}": _encode for module in ("builtins", "__builtin__") for name in ("bytes", "bytearray")},
    "numpy.dtype": _DType,
    **{f"{module}.{name}": _set for module in ("builtins", "__builtin__") for name in ("set", "frozenset")},
    **{f"{module}._reconstructor": _reconstructor for module in ("copyreg", "copy_reg")},
    **{f"numpy.{core}.multiarray._reconstruct": lambda *_: Array() for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _array for core in ("core", "_core")},
    "numpy.ndarray": lambda *_: Array(),
}
"""The names that may be called, and padinv's stand-ins, whose first argument is the budget."""
