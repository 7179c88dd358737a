"""The arguments that a run's checkpoint may hold: plain values, and classes from padinv's own list.

Lightning saves a module's arguments in its checkpoint, a class as ``{"class_path": …, "init_args": …}``, and gives them
to jsonargparse when the module is loaded again. jsonargparse imports whatever the file names, and calls it with
whatever the file says, even ``os.system``. Here no name in a file is imported: it is in :func:`known_classes`, letter
for letter, or it is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Literal, get_args, get_origin, get_type_hints

from padinv.exceptions import CheckpointError

OURS = ("padinv.gan", "padinv.losses", "padinv.metrics", "padinv.networks")
"""Modules whose public classes a checkpoint may ask for. Layers above this one are only named, not imported here."""

SINGLE = {
    "padinv.training": ("PadInvModule",),
    "padinv.training.module": ("default_optimizer_e", "default_optimizer_d"),
    "padinv.gan.module": ("default_optimizer",),
}
"""Further names of padinv's; the functions stand for an argument that was not given."""

TORCH = {"torch.optim": "Optimizer", "torch.optim.lr_scheduler": "LRScheduler"}
"""Modules of PyTorch, with the base class that their allowed classes have."""

DEEPEST = 20
"""The most levels of nested arguments; padinv's own have four."""


@cache
def known_classes() -> dict[str, Callable[..., Any]]:
    """Lists all classes and functions that a checkpoint may name, by each of their names.

    >>> sorted(name for name in known_classes() if "FrechetDistance" in name)
    ['padinv.metrics.FrechetDistance', 'padinv.metrics.fid.FrechetDistance']
    """
    named = {home: list(import_module(home).__all__) for home in OURS} | SINGLE
    for home, base in TORCH.items():
        module = vars(import_module(home))
        named[home] = [
            name for name, value in module.items() if isinstance(value, type) and issubclass(value, module[base])
        ]
    known: dict[str, Callable[..., Any]] = {}
    for home, names in named.items():
        for name in names:
            value = getattr(import_module(home), name)
            if isinstance(value, type) or home in SINGLE:
                known |= dict.fromkeys((f"{home}.{name}", f"{value.__module__}.{value.__qualname__}"), value)
    top = import_module("padinv")
    return known | {f"padinv.{name}": value for name in top.__all__ if (value := getattr(top, name)) in known.values()}


def read_run(checkpoint: str | Path | IO[bytes], weights_only: bool | None = True) -> dict[Any, Any]:
    """Reads a checkpoint as Lightning does; an open one stays where it is.

    Args:
        checkpoint: a file's path or address, or an open one.
        weights_only: as for ``torch.load``.
    """
    from lightning_fabric.utilities.cloud_io import _load  # reads what Lightning reads, also addresses

    start = None if isinstance(checkpoint, str | Path) else checkpoint.tell()
    content = _load(checkpoint, "cpu", weights_only)
    if start is not None and not isinstance(checkpoint, str | Path):
        checkpoint.seek(start)
    return content if isinstance(content, dict) else {}


def build_arguments(saved: Any, cls: type, where: str, without: Collection[str] = ()) -> dict[str, Any]:
    """Builds a module's arguments from a checkpoint's description of them.

    Args:
        saved: the checkpoint's "hyper_parameters".
        cls: the module's class, which the caller has chosen.
        where: what messages call the checkpoint.
        without: the names of the arguments that the caller gives.

    Returns:
        Values for those parameters of the class that were saved. A class that still lacks an argument, such as an
        optimizer without weights, becomes a function of it.

    Raises:
        CheckpointError: if the checkpoint is of another class, or asks for anything that is not in
            :func:`known_classes`.
    """
    if not isinstance(saved, Mapping) or not all(isinstance(name, str) for name in saved):
        raise CheckpointError(f"{where} has hyper-parameters that are no arguments by name.")
    trained_by = saved.get("_class_path", cls.__name__)
    if not isinstance(trained_by, str) or trained_by.rpartition(".")[2] not in {base.__name__ for base in cls.__mro__}:
        raise CheckpointError(
            f"{where} was made by {trained_by!r}, not by {cls.__name__}: load it with that class, or give padinv the "
            "run's own config (--config …/config.yaml)."
        )
    given = {name: value for name, value in saved.items() if name not in without and not name.startswith("_")}
    return _arguments(cls, given, where, 0)


def _arguments(function: Callable[..., Any], given: Mapping[Any, Any], where: str, depth: int) -> dict[str, Any]:
    """Checks and builds the arguments of one call. A module's own (depth 0) that it no longer has are left out."""
    parameters = inspect.signature(function).parameters
    hints = get_type_hints(function.__init__ if inspect.isclass(function) else function)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = [] if takes_any else [name for name in given if name not in parameters]
    if unknown and depth:
        raise CheckpointError(f"{where} gives {function.__name__} an argument that it does not have: {unknown[0]!r}.")
    built = {}
    for name in [name for name in given if name not in unknown]:
        value = _value(given[name], where, depth + 1)
        if isinstance(value, str) and not _takes_text(hints.get(name, str)):
            raise CheckpointError(_refusal(where, value, name))
        if isinstance(value, list) and get_origin(hints.get(name)) is tuple:
            value = tuple(value)  # betas come as a list from a file, and older optimizers keep them as one
        built[name] = value
    return built


def _value(value: Any, where: str, depth: int) -> Any:
    if depth > DEEPEST:
        raise CheckpointError(f"{where} has arguments nested deeper than {DEEPEST} levels.")
    if isinstance(value, str):
        return known_classes().get(value, value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return type(value)(_value(item, where, depth + 1) for item in value)
    if not isinstance(value, Mapping):
        raise CheckpointError(f"{where} has a {type(value).__name__} among its hyper-parameters.")
    if "class_path" in value:
        return _instance(value, where, depth)
    return {key: _value(item, where, depth + 1) for key, item in value.items()}


def _instance(value: Mapping[Any, Any], where: str, depth: int) -> Any:
    name = value["class_path"]
    function = known_classes().get(name) if isinstance(name, str) else None
    parts = [value.get(key) or {} for key in ("init_args", "dict_kwargs")]
    if function is None or not all(isinstance(part, Mapping) for part in parts):
        raise CheckpointError(_refusal(where, name, "class_path"))
    arguments = _arguments(function, {**parts[0], **parts[1]}, where, depth)
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError:
        return partial(function, **arguments)
    return function(**arguments)


def _refusal(where: str, name: Any, argument: str) -> str:
    return (
        f"{where} asks for {name!r} ({argument}), which is none of padinv's own classes nor an optimizer of PyTorch's: "
        "a checkpoint may not choose what is run. If the run is yours, give its config (--config …/config.yaml), or in "
        "Python the argument itself."
    )


def _takes_text(hint: Any) -> bool:
    """Tells whether a text is a value of a type, not the name of one."""
    if get_origin(hint) is Literal:
        return True
    return hint in (str, Any) or any(map(_takes_text, get_args(hint)))


def forget_foreign_paths(checkpoint: Mapping[str, Any]) -> None:
    """Removes from the state of callbacks, in place, all paths outside the folder that the state names.

    ModelCheckpoint deletes the files of its earlier best checkpoints, and a checkpoint must not choose them.
    """
    callbacks = checkpoint.get("callbacks")
    for state in callbacks.values() if isinstance(callbacks, Mapping) else ():
        if not isinstance(state, dict) or "dirpath" not in state:
            continue
        folder = Path(str(state["dirpath"])).resolve()
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            if key in state and not _inside(state[key], folder):
                state[key] = ""
        if isinstance(best := state.get("best_k_models"), Mapping):
            state["best_k_models"] = {path: score for path, score in best.items() if _inside(path, folder)}


def _inside(path: Any, folder: Path) -> bool:
    return isinstance(path, str) and folder in Path(path).resolve().parents
