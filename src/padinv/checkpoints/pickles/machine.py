"""A pickle machine that runs nothing: it builds plain containers, tensors and arrays, and inert stand-ins for the rest.

Python's own unpickler imports whatever a file names, and calls it. This one imports nothing. It has its own code for
the functions that rebuild tensors and arrays. Everything else that a file names (options, losses, schedulers) becomes
:class:`Inert`, which a reader looks at only if it needs it. A file cannot claim a length without having the bytes, nor
choose its keys' hashes (keys are small numbers and text); a budget limits everything else.
"""

from __future__ import annotations

import mmap
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partialmethod
from typing import Any, BinaryIO, TypeAlias

from padinv.exceptions import CheckpointError

OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}

LITERAL = r"(BIN)?(INT[12]?|FLOAT)|LONG[14]?|(SHORT_)?(BIN)?(STRING|UNICODE8?)|(SHORT_)?BINBYTES8?|BYTEARRAY8"
LITERALS = frozenset(opcode.name for opcode in OPCODES.values() if re.fullmatch(LITERAL, opcode.name))
"""Opcodes that push their argument."""
LARGE = frozenset({"BINBYTES", "BINBYTES8", "BYTEARRAY8", "BINSTRING"})
"""Opcodes whose argument may be most of the file: the raw bytes of a tensor or array."""
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}


class Budget:
    """The cost that reading a file may have, in proportion to its size: a small file cannot make large objects.

    All steps of reading one file draw on the same allowances.

    Args:
        size: the file's length in bytes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        # A step makes an object of at most about 200 bytes, so that all objects stay under four times the file;
        # networks need a few dozen steps for each tensor. Text may take four bytes a character.
        self.left = {
            "steps": 100_000 + size // 128,
            "text": 2**20 + size // 8,
            "storage": size,
            "tensors": size + 2**20,
        }

    def spend(self, allowance: str, amount: int = 1) -> None:
        """Draws on an allowance: "steps" of a pickle, bytes of "text", of "storage", or of "tensors" made from it.

        Raises:
            CheckpointError: if the allowance is used up.

        >>> Budget(1000).spend("storage", 1001)
        Traceback (most recent call last):
        padinv.exceptions.CheckpointError: it claims more storage than a file of 1000 bytes can hold; it may end early
        """
        self.left[allowance] -= amount
        if amount < 0 or self.left[allowance] < 0:
            early = "; it may end early" if allowance == "storage" else ""
            raise CheckpointError(f"it claims more {allowance} than a file of {self.size} bytes can hold{early}")


class Inert(dict[Any, Any]):
    """Stands in for an object whose class is never imported, and keeps what the file says of it.

    Attributes:
        name: the class or function, with its module.
        args: the arguments of the call that the file asks for.
        state: what the file gives it as its state, usually its ``__dict__``.
    """

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple[Any, ...] = ()) -> None:
        super().__init__()
        self.name = name
        self.args = args
        self.state: Any = None

    __hash__ = object.__hash__  # type: ignore[assignment]  # an object may be a key, by what it is, not what it holds
    __eq__ = object.__eq__

    def __repr__(self) -> str:
        return f"an object of {self.name[:100]}"

    @property
    def fields(self) -> dict[Any, Any]:
        """The entries of a dictionary or a namespace of options: its items, or else its attributes."""
        state = self.state[0] if isinstance(self.state, tuple) and self.state else self.state  # attributes and slots
        return self if self or not isinstance(state, dict) else state


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name in a file.

    Attributes:
        name: the class or function, with its module.
        call: padinv's function that is called in its place, with the budget and the arguments; None makes an
            :class:`Inert`.
    """

    name: str
    call: Callable[..., Any] | None = None

    def __str__(self) -> str:
        return f"the name {self.name[:100]}"


def make_key(key: Any) -> Any:
    """Makes a key of a dictionary, or a member of a set; it boxes those whose hash a file could choose."""
    if isinstance(key, str | bytes | bool | None | Inert | Symbol) or (isinstance(key, int) and abs(key) < 2**60):
        return key
    return Inert(f"builtins.{type(key).__name__}", (key,))


def _make_dict(values: list[Any]) -> dict[Any, Any]:
    """Makes a dictionary of keys and values that alternate."""
    return dict(zip(map(make_key, values[::2]), values[1::2], strict=True))


def _make_set(values: list[Any]) -> frozenset[Any]:
    return frozenset(map(make_key, values))


OF_ITEMS: dict[str, Callable[[list[Any]], Any]] = {
    "LIST": list,
    "TUPLE": tuple,
    "DICT": _make_dict,
    "FROZENSET": _make_set,
}
"""Opcodes that make a container of all that is on the stack since the last mark."""


File: TypeAlias = BinaryIO | mmap.mmap
"""What a pickle is read from."""


class _Limited:
    """A file that refuses long text, and arguments longer than the file, before they take memory."""

    def __init__(self, file: File, budget: Budget) -> None:
        self.file, self.budget, self.large = file, budget, False

    def read(self, n: int) -> bytes:
        if n > (self.budget.size if self.large else self.budget.left["text"]):
            raise CheckpointError(
                f"it claims a value of {n} bytes, more than a file of {self.budget.size} bytes can hold"
            )
        return self.file.read(n)

    def readline(self) -> bytes:
        line = self.file.readline()
        self.budget.spend("text", len(line))
        return line


class Unpickler:
    """Reads one pickle.

    Args:
        file: at the start of the pickle; afterwards just behind it.
        budget: the whole file's.
        find: gives the :class:`Symbol` for a name.
        persistent: gives the object for a persistent id, tensors' storages in ``torch.save`` files.
    """

    def __init__(
        self, file: File, budget: Budget, find: Callable[[str], Symbol], persistent: Callable[[Any], Any] | None = None
    ) -> None:
        self.file = _Limited(file, budget)
        self.budget, self.find, self.persistent = budget, find, persistent
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """Reads the pickle.

        Raises:
            CheckpointError: if it is no pickle, or makes more than its file can hold.
            Exception: of many kinds, if it is damaged.
        """
        while True:
            opcode = OPCODES[self.file.read(1)]
            self.budget.spend("steps")
            self.file.large = opcode.name in LARGE
            argument = None if opcode.arg is None else opcode.arg.reader(self.file)  # type: ignore[arg-type]
            if opcode.name == "STOP":
                return self.stack.pop()
            if opcode.name in LITERALS:
                if isinstance(argument, str):
                    self.budget.spend("text", len(argument))
                self.stack.append(argument)
            elif opcode.name in CONSTANTS:
                self.stack.append(CONSTANTS[opcode.name])
            elif opcode.name in EMPTY:
                self.stack.append(EMPTY[opcode.name]())
            elif opcode.name in OF_ITEMS:
                values = self._to_mark()
                self.stack.append(OF_ITEMS[opcode.name](values))
            else:
                step = getattr(self, f"_{opcode.name.lower()}", None)
                if step is None:
                    raise CheckpointError(f"it uses the pickle instruction {opcode.name}, which no checkpoint needs")
                step(argument)

    def _proto(self, version: int) -> None:
        pass

    _frame = _proto  # frames are hints for reading ahead

    # Containers ------------------------------------------------------------------------------------------------------

    def _mark(self, _: None) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def _to_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.marked.pop()
        return values

    def _pop(self, _: None) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.stack = self.marked.pop()

    def _pop_mark(self, _: None) -> None:
        self._to_mark()

    def _dup(self, _: None) -> None:
        self.stack.append(self.stack[-1])

    def _tuple1(self, _: None, length: int = 1) -> None:
        self.stack[-length:] = [tuple(self.stack[-length:])]

    _tuple2 = partialmethod(_tuple1, length=2)
    _tuple3 = partialmethod(_tuple1, length=3)

    def _append(self, _: None) -> None:
        value = self.stack.pop()
        self._top(list).append(value)

    def _appends(self, _: None) -> None:
        values = self._to_mark()
        self._top(list).extend(values)

    def _setitem(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._top(dict).update(_make_dict([key, value]))

    def _setitems(self, _: None) -> None:
        values = self._to_mark()
        self._top(dict).update(_make_dict(values))

    def _additems(self, _: None) -> None:
        values = self._to_mark()
        self._top(set).update(_make_set(values))

    def _top(self, kind: type[Any]) -> Any:
        top = self.stack[-1]
        if not isinstance(top, kind | Inert):
            raise CheckpointError(f"it treats a {type(top).__name__} as a {kind.__name__}")
        return top if isinstance(top, kind) else kind()  # members of an unknown kind of list, which no reader needs

    # Memory ----------------------------------------------------------------------------------------------------------

    def _put(self, index: int) -> None:
        self.memo[make_key(index)] = self.stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    _binget = _long_binget = _get

    # Objects ---------------------------------------------------------------------------------------------------------

    def _global(self, name: str) -> None:
        self.stack.append(self.find(name.replace(" ", ".")))

    def _stack_global(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise CheckpointError("it names a class by something that is no text")
        self.budget.spend("text", len(module) + len(name))
        self.stack.append(self.find(f"{module}.{name}"))

    def _reduce(self, _: None) -> None:
        args, called = self.stack.pop(), self.stack.pop()
        if not isinstance(called, Symbol | Inert) or not isinstance(args, tuple):
            raise CheckpointError(f"it calls a {type(called).__name__}, which is no function")
        if isinstance(called, Symbol) and called.call is not None:
            self.stack.append(called.call(self.budget, *args))
        else:
            self.budget.spend("steps")
            self.stack.append(Inert(called.name, args))

    _newobj = _reduce

    def _newobj_ex(self, _: None) -> None:
        keywords = self.stack.pop()
        if keywords and isinstance(self.stack[-2], Symbol):  # none of the stand-ins takes keyword arguments
            self.stack[-2] = Symbol(self.stack[-2].name)
        self._reduce(None)

    def _inst(self, name: str) -> None:
        args = tuple(self._to_mark())
        self._global(name)
        self.stack.append(args)
        self._reduce(None)

    def _obj(self, _: None) -> None:
        symbol, *args = self._to_mark()
        self.stack += [symbol, tuple(args)]
        self._reduce(None)

    def _build(self, _: None) -> None:
        state = self.stack.pop()
        made = self.stack[-1]
        if isinstance(made, Inert):
            made.state = state
        elif hasattr(made, "set_state"):  # it is built in two steps, as arrays and their types are
            made.set_state(self.budget, state)
        # Attributes of anything else, such as the _metadata of a state dict, are not needed.

    def _binpersid(self, _: None) -> None:
        if self.persistent is None:
            raise CheckpointError("it refers to data outside of the pickle, and there is none")
        self.stack.append(self.persistent(self.stack.pop()))
