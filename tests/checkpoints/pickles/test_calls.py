"""What training scripts leave beside the weights: none of it keeps the weights from being read, none of it is run."""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import decimal
import enum
import functools
import pathlib
import pickle
import random
import re
import sys
import types
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import formats
from padinv import Generator, load_generator
from padinv.checkpoints import open_checkpoint
from padinv.checkpoints.pickles.machine import Inert
from padinv.exceptions import CheckpointError


class Stage(enum.Enum):
    TRAIN = "train"


class ByKeywords:
    """Pickled by NEWOBJ_EX."""

    def __new__(cls, *, size: int) -> ByKeywords:
        return super().__new__(cls)

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (), {"size": 3}


class Slots:
    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = 1


class Meters(list[float]):
    """A list with attributes."""


class Record(dict[Any, Any]):
    """A dictionary with attributes."""


class Tags(set[str]):
    """A set with attributes."""


class Steps(collections.OrderedDict[str, int]):
    """An ordered dictionary with attributes."""


class Annotated(torch.Tensor):
    """A tensor of a subclass."""


class Network(torch.nn.Module):
    """A whole module, with one inside of a class of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.PReLU(3))
        self.hook = self.body.register_forward_hook(print)


CLASSES = (Stage, ByKeywords, Slots, Meters, Record, Tags, Steps, Annotated, Network)


def with_attributes(value: Any) -> Any:
    value.note = "a note"
    return value


def quantized() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch means to drop them
        return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])


OBJECTS: dict[str, Callable[[], Any]] = {
    "scaler of mixed precision": lambda: {"scale": 65536.0, "growth_tracker": 3, "per_device": {(0, "cuda"): 1.0}},
    "random states": lambda: [random.getstate(), np.random.get_state(), torch.get_rng_state()],  # noqa: NPY002
    "random generators": lambda: [np.random.default_rng(0), np.random.RandomState(0), random.Random(0)],
    "enumeration": lambda: {Stage.TRAIN: Stage.TRAIN, "stages": [Stage.TRAIN]},
    "partial function": lambda: functools.partial(torch.optim.Adam, lr=0.1),
    "function and class": lambda: [torch.nn.functional.relu, torch.nn.ReLU, Network.forward, len, [].append],
    "namespace": lambda: argparse.Namespace(path=Path("a"), nested=types.SimpleNamespace(b=1)),
    "paths": lambda: [Path("a"), pathlib.PureWindowsPath("b")],
    "times": lambda: [datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc), datetime.timedelta(1)],
    "numbers": lambda: [1j, decimal.Decimal(1), 2**100, -(2**100), range(3), slice(1), float("nan")],
    "keys": lambda: {0.5: 1, (1, 2): 2, None: 3, b"b": 4, 2**80: 5, frozenset({1}): 6, Path("a"): 7, torch.float32: 8},
    "sets": lambda: [{(1, 2), 0.5}, frozenset({Stage.TRAIN}), Tags({"a"})],
    "collections": lambda: [
        collections.defaultdict(list, {"a": [1]}), collections.deque([1], 3), collections.Counter("aab"),
        collections.ChainMap({}), Meters([1.0]), Record({1.5: 2}), Steps(a=1),
    ],
    "attributes": lambda: [with_attributes(kind()) for kind in (Meters, Record, Tags, Steps)],
    "slots": lambda: [Slots(), Slots],
    "by keywords": lambda: [ByKeywords(size=1), uuid.uuid4(), re.compile("a")],
    "bytes": lambda: [b"", b"ab\xff", bytearray(b""), bytearray(b"ab")],
    "arrays of anything": lambda: [
        np.array(["a", None], object), np.array(["text"]), np.array([b"b"]), np.array(["2024-01-01"], "M8[D]"),
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), np.ones(2, np.complex64), np.ma.masked_array([1], [True]),
    ],
    "scalars": lambda: [np.float32(1), np.bool_(True), np.str_("a"), np.datetime64("2024-01-01"), np.complex64(1)],
    "tensors of any kind": lambda: [
        torch.ones(2, dtype=torch.complex64), quantized(), torch.ones(2, 2).to_sparse(), torch.ones(2, device="meta"),
        torch.ones(2).as_subclass(Annotated), with_attributes(torch.ones(2)), torch.ones(2, dtype=torch.float8_e5m2),
        with_attributes(torch.nn.Parameter(torch.ones(2))), torch.nn.UninitializedParameter(),
    ],
    "devices": lambda: [torch.device("cuda:1"), torch.float16, torch.Size([1]), torch.strided],
    "whole modules": lambda: Network(),
    "optimizer and schedule": lambda: torch.optim.lr_scheduler.StepLR(optimizer(), 3),
}  # fmt: skip
"""What is saved beside weights: name → what makes it."""


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(8, z_dim=4, w_dim=4, mapping_layers=1, channels={4: 4, 8: 4}).requires_grad_(False).eval()


@contextlib.contextmanager
def modules_of_nobody() -> Iterator[None]:
    """Pickles the classes as those of a project that a reader could not import."""
    module = types.ModuleType("their_project")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sources that cannot be retrieved, of types that PyTorch means to drop
        patch.setitem(sys.modules, module.__name__, module)
        for kind in CLASSES:
            patch.setattr(kind, "__module__", module.__name__)
            setattr(module, kind.__name__, kind)
        yield


@pytest.mark.parametrize("container", ["archive", "stream", "pickle"])
@pytest.mark.parametrize("name", OBJECTS)
def test_nothing_beside_the_weights_keeps_them_from_being_read(
    tmp_path: Path, generator: Generator, name: str, container: str
) -> None:
    path = tmp_path / "network.pth"
    for protocol in range(6) if container == "pickle" else range(2, 6):
        with modules_of_nobody():
            models = {"generator": formats.hammer_generator(generator)}
            content = {"first": OBJECTS[name](), "models": models, "last": OBJECTS[name]()}
            if container == "pickle":
                if name in ("slots", "by keywords") and protocol < 2:
                    continue  # which Python itself cannot write
                path.write_bytes(pickle.dumps(content, protocol))
            else:
                zipped = container == "archive"
                torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        assert torch.equal(load_generator(path).synthesis.const, generator.synthesis.const)


def test_what_a_reader_may_ask_of_an_inert_object() -> None:
    inert = Inert("their.Options")
    assert inert.fields == {}
    inert.state = {"a": 1}
    assert inert.fields == {"a": 1}
    inert.state = ({"a": 2}, {"slot": 3})
    assert inert.fields == {"a": 2}
    inert["a"] = 3
    assert inert.fields is inert


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": Slots, "epoch": 1}, r"but the entries 'epoch', 'model'\.$"),
        (
            {"models": {"generator": Network}},
            r"the entries 'models', and an object of their_project\.Network, which padinv neither",
        ),
        (
            {"epoch": 1, "model": Network},
            r"the entries 'epoch', 'model', and an object of their_project\.Network, which padinv",
        ),
        (
            {"models": {"generator": {"synthesis.layer0.weight": quantized}}},
            r"the entries 'models', and 'synthesis.layer0.weight' is an object of torch._utils._rebuild_qtensor in",
        ),
        (Network, "but an object of their_project.Network, which padinv neither imports nor runs: save the state_dict"),
    ],
)
def test_a_class_is_named_where_its_objects_are_all_there_is(tmp_path: Path, content: Any, message: str) -> None:
    def made(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: made(inner) for key, inner in value.items()}
        return value() if value in (Network, quantized) else value

    path = tmp_path / "network.pth"
    with modules_of_nobody():
        torch.save(made(content), path)
    with pytest.raises(CheckpointError, match=rf"holds no Generator.* {message}"):
        open_checkpoint(path)
