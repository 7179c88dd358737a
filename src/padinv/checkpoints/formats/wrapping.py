"""Unwraps state dicts from what tools put around them, for the readers of all formats.

DataParallel and torch.compile put ``module.`` and ``_orig_mod.`` into keys. Trainers put state dicts into dictionaries
(``state_dict``, ``params_ema``), Lightning puts the name of a network before its keys (``generator.``), and some save
the whole module. A reader gets the content itself first, and then each part that may be a state dict.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from padinv.checkpoints.formats.state_dicts import MOST_KEYS, State
from padinv.checkpoints.pickles.calls import Array
from padinv.checkpoints.pickles.machine import Inert
from padinv.exceptions import CheckpointError

SEGMENT = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What wrappers of modules put into keys."""

NAME = re.compile(
    r"(?:(?:net|network|model|gan|stylegan2?|pl|ema|avg|average|smooth|shadow|running|swa"
    r"|gen|dis|disc|generator|discriminator|encoder|decoder|g|d|e)_?)+",
    re.IGNORECASE,
)
"""Names of networks that stand before the keys of a state dict."""

AVERAGED = re.compile(r"ema|avg|average|smooth|shadow|running|swa|\bgs$", re.IGNORECASE)
"""A part of the names of moving averages; NVIDIA called the first one ``Gs``."""

Facts = dict[str, dict[Any, Any]]
"""The ``__dict__`` of each module by its name; empty for a state dict."""

PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
"""NVIDIA's modules are pickled as a call of this function with one dict, of which ``state`` is the ``__dict__``."""

# A file may nest without end: these bound the number of parts, the length of lists that hold networks, and depth.
MOST_VIEWS = 200
MOST_TOGETHER = 10
DEEPEST = 4


class View(dict[str, Any]):
    """A part of a file's content, as a dictionary of its own.

    Args:
        items: what the part holds; a prefix of its keys is taken off.
        name: the path of keys to it in the file.
        around: the dictionary or module that it is a part of.
        facts: the attributes of the modules inside a pickled module, by their names.
    """

    def __init__(self, items: Any, name: str = "", around: Any = None, facts: Facts | None = None) -> None:
        super().__init__(items)
        self.name, self.around, self.facts = name, around, facts or {}
        self.depth: int = around.depth + 1 if isinstance(around, View) else 0

    @property
    def rank(self) -> tuple[bool, int]:
        """The place in the order of views: moving averages come first, then what is less deep."""
        return not AVERAGED.search(self.name), self.depth

    def holds_same(self, other: View) -> bool:
        """Tells whether the other's tensors are these, under the same keys."""
        ours, theirs = (
            {key: (value.data_ptr(), value.shape) for key, value in view.items() if isinstance(value, Tensor)}
            for view in (self, other)
        )
        return ours == theirs


def nearest(content: Any, name: str) -> Any:
    """Looks a name up in a part of a file, then in what is around it; None if it is nowhere."""
    while isinstance(content, dict):
        if content.get(name) is not None:
            return content[name]
        content = getattr(content, "around", None)
    return None


def unwrap(content: Any) -> Any:
    """Gives the keys in all dictionaries the form that they have in a bare module."""
    return _unwrap(content, {}, DEEPEST)


def _unwrap(content: Any, done: dict[int, Any], depth: int) -> Any:
    if not isinstance(content, dict) or isinstance(content, Inert) or depth == 0:
        return content
    if id(content) in done:
        return done[id(content)]
    plain: dict[Any, Any] = {key: key for key in content}
    if any(isinstance(key, str) and SEGMENT.search(key) for key in content):
        stripped = {key: SEGMENT.sub("", key) if isinstance(key, str) else key for key in content}
        if len({*stripped.values()}) == len(content):
            # How often an average was taken, beside its module.
            plain = {key: new for key, new in stripped.items() if str(new).rpartition(".")[2] != "n_averaged"}
    unwrapped: dict[Any, Any] = {}
    done[id(content)] = unwrapped
    is_state = any(isinstance(key, str) and "." in key and isinstance(value, Array) for key, value in content.items())
    for key, new in plain.items():
        value = content[key]
        to_tensor = is_state and isinstance(value, Array) and value.value.dtype.kind == "f"
        unwrapped[new] = _tensor(value, done) if to_tensor else _unwrap(value, done, depth - 1)
    return unwrapped


def _tensor(value: Array, done: dict[int, Any]) -> Any:
    """Makes a tensor of an array in a state dict, once however often a file refers to it."""
    if id(value) not in done:
        done[id(value)] = torch.from_numpy(np.array(value.value, value.value.dtype.newbyteorder("="), order="C"))
    return done[id(value)]


def views(content: Any) -> list[View]:
    """Lists the parts from which networks may be read: dictionaries, prefixes, whole modules."""
    found: list[View] = []
    seen: set[int] = set()
    modules: set[int] = set()
    pending: list[View] = []

    def add(value: Any, name: str, around: Any, facts: Facts | None = None) -> None:
        identity = id(module_fields(value) if isinstance(value, Inert) else value)
        if identity in seen or len(found) >= MOST_VIEWS:
            return
        seen.add(identity)
        view = _view(value, name, around, modules, facts)
        if view is not None:
            found.append(view)
            pending.append(view)

    if isinstance(content, Inert):
        add(content, "the file", None)
    elif isinstance(content, dict):
        pending.append(View(content))
    elif isinstance(content, list | tuple) and len(content) <= MOST_TOGETHER:
        pending.append(View({str(number): value for number, value in enumerate(content)}))
    while pending:
        around = pending.pop(0)
        if around.depth < DEEPEST:
            for name, value in _parts(around):
                inside = {key.removeprefix(f"{name}."): own for key, own in around.facts.items() if f"{name}." in key}
                add(value, f"{around.name}.{name}".strip("."), around, inside)
    return sorted(found, key=lambda view: view.rank)


def _view(value: Any, name: str, around: Any, seen: set[int], facts: Facts | None = None) -> View | None:
    if not isinstance(value, Inert):
        return View(value, name, around, facts)
    if not module_fields(value).get("_modules"):
        return View(value, name, around) if value else None  # an object that is a dictionary
    try:
        state, facts = module_state(value, seen)
    except CheckpointError:  # no network is nested like this
        return None
    beside = View(module_fields(value), name, around)
    return View(unwrap(state), name, beside, {SEGMENT.sub("", key): own for key, own in facts.items()})


def _parts(content: View) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields what is inside of a dictionary: dictionaries, modules, and tensors by the names before their keys."""
    groups: dict[str, dict[str, Any]] = {}
    for key, value in list(content.items())[:MOST_KEYS]:
        if isinstance(key, str):
            name, _, rest = key.partition(".")
            if isinstance(value, dict):
                yield key[:100], value
            elif rest and len(name) <= 40 and NAME.fullmatch(name):
                groups.setdefault(name, {})[rest] = value
    yield from groups.items()


def module_state(module: Any, seen: set[int] | None = None) -> tuple[State, Facts]:
    """Collects the state dict of a pickled module, and the ``__dict__`` of each module inside by its name.

    Args:
        module: the stand-in for the pickled module.
        seen: the identities of objects to leave out, since each counts once, under one name.

    Raises:
        CheckpointError: if it is nested like no network.
    """
    state: State = {}
    facts: Facts = {}
    seen = set() if seen is None else seen
    pending: list[tuple[str, Any, tuple[int, ...]]] = [("", module, ())]
    while pending:
        prefix, module, above = pending.pop()
        fields = module_fields(module)
        facts[prefix.removesuffix(".")] = fields
        for group in ("_parameters", "_buffers"):
            for name, tensor in _items(fields.get(group), seen):
                if isinstance(tensor, Tensor):
                    state[f"{prefix}{name}"] = tensor
        if (inside := id(fields.get("_modules"))) in above:
            raise CheckpointError("It has modules inside of modules without an end.")
        inner = _items(fields.get("_modules"), seen)
        pending += [(f"{prefix}{name}.", child, (*above, inside)) for name, child in inner]
        if len(prefix) > 500 or len(facts) + len(pending) > MOST_KEYS or len(state) > MOST_KEYS:
            raise CheckpointError("It has modules inside of modules without an end.")
    return state, facts


def module_fields(module: Any) -> dict[Any, Any]:
    """Returns a module's ``__dict__``."""
    if not isinstance(module, Inert):
        return {}
    fields = module.state
    if module.name == PERSISTENT and module.args and isinstance(module.args[0], dict):
        fields = module.args[0].get("state")
    return fields if isinstance(fields, dict) else {}


def _items(group: Any, seen: set[int]) -> list[tuple[str, Any]]:
    if id(group) in seen:
        return []
    seen.add(id(group))
    return [(name, value) for name, value in group.items() if isinstance(name, str)] if isinstance(group, dict) else []
