"""Files of kilobytes made to take minutes or gigabytes: each ends in a sentence, in seconds and little memory."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import formats
from loading_apart import LoadingProcess
from padinv import Inversion, load_generator
from padinv.checkpoints.native import METADATA_KEY, parse_description
from padinv.editing import load_directions
from padinv.exceptions import CheckpointError

MEGABYTE = 2**20
FILES: dict[str, Callable[[], bytes]] = {}


def file(make: Callable[[], bytes]) -> Callable[[], bytes]:
    FILES[make.__name__] = make
    return make


def written(content: Any) -> bytes:
    """A pickle with stand-ins for classes that are not installed."""
    target = io.BytesIO()
    formats.Pickler(target, 4).dump(content)
    return target.getvalue()


def saved(content: Any) -> bytes:
    target = io.BytesIO()
    torch.save(content, target)
    return target.getvalue()


def archive(payload: bytes, padding: int = 0) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as zipped:
        for name, content in {"data.pkl": payload, "version": b"3", "data/0": b"", "rest": bytes(padding)}.items():
            zipped.writestr(f"archive/{name}", content)
    return target.getvalue()


def safetensors(metadata: Any, tensors: dict[str, Any] | None = None, numbers: int = 0) -> bytes:
    header = json.dumps({"__metadata__": metadata, **(tensors or {})}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(numbers)


def described(text: str) -> bytes:
    return safetensors({METADATA_KEY: text})


def module(**fields: Any) -> formats.New:
    return formats.New(formats.Named("training.networks", "Module"), fields)


# Pickles -------------------------------------------------------------------------------------------------------------


@file
def nested_dictionaries() -> bytes:
    keys = {f"key{i}": 1 for i in range(1000)}
    middle = dict.fromkeys(range(100), keys)
    return pickle.dumps({i: dict(middle) for i in range(100)})


@file
def the_same_dictionary_at_every_place() -> bytes:
    nested: Any = {"a": 1}
    for _ in range(50):
        nested = dict.fromkeys(["models", "g_ema", "state_dict", "G_ema", "D"], nested)
    return pickle.dumps(nested)


@file
def a_dictionary_inside_of_itself() -> bytes:
    itself: dict[str, Any] = {}
    itself |= dict.fromkeys(["models", "generator", "g_ema", "state_dict"], itself)
    return pickle.dumps(itself)


@file
def a_list_inside_of_itself() -> bytes:
    itself: list[Any] = []
    itself.append(itself)
    return pickle.dumps(itself)


@file
def tensorflow_components_that_share_variables() -> bytes:
    variables = [(f"synthesis/{i}/weight", np.ones(1, np.float32)) for i in range(3000)]
    named = formats.Named("dnnlib.tflib.network", "Network")
    leaf = formats.New(named, {"variables": variables, "components": {}})
    components = {f"{i}" * 100: leaf for i in range(99)}
    for _ in range(3):
        leaf = formats.New(named, {"variables": variables, "components": components})
        components = {f"{i}" * 100: leaf for i in range(99)}
    return written((leaf, leaf, leaf))


@file
def modules_that_share_parameters() -> bytes:
    shared = {f"p{i}": 1 for i in range(20_000)}
    leaf = module(_parameters=shared, _buffers=shared, _modules={})
    return written({"G_ema": module(_parameters=shared, _modules={f"m{i}": leaf for i in range(9_000)})})


@file
def modules_inside_of_modules() -> bytes:
    leaf = module(_parameters={f"p{i}": 1 for i in range(20_000)}, _modules={})
    for _ in range(13):
        leaf = module(_parameters={}, _modules={"a": leaf, "b": leaf})
    return written({f"{i}": leaf for i in range(100)} | {"G_ema": leaf})


@file
def networks_that_share_modules() -> bytes:
    leaf = module(_parameters={f"p{i}": 1 for i in range(10)}, _modules={})
    shared = module(_parameters={}, _modules={f"m{i}": leaf for i in range(9_000)})
    return written({f"G{i}": module(_parameters={}, _modules={"x" * 200: shared}) for i in range(100)})


@file
def rosinality_with_fifty_blocks() -> bytes:
    state = formats.small_rosinality()
    for k in range(50):
        state |= {f"convs.{2 * k + i}.conv.weight": torch.ones(1, 4, 4, 3, 3) for i in range(2)}
        state[f"to_rgbs.{k}.bias"] = torch.ones(1)
    state |= {f"convs.99.conv.modulation.x{i}": torch.ones(1) for i in range(2500)}
    return saved({"g_ema": state})


@file
def views_of_nothing() -> bytes:
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x00tQ"
    head = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x000(" + storage + b"K\x00K\x00\x85K\x01\x85\x89}tq\x010("
    return archive(head + b"h\x00h\x01R" * 60_000 + b"l.", padding=10_000_000)


@file
def empty_sets() -> bytes:
    return b"\x80\x04(" + b"\x8f" * 120_000 + b"l." + bytes(4_000_000)


@file
def a_compressed_archive() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("archive/data.pkl", bytes(20_000_000))
    return target.getvalue()


@file
def a_key_of_megabytes() -> bytes:
    return saved({"x" * 500_000: torch.ones(1), **formats.small_rosinality()})


@file
def a_long_number() -> bytes:
    return b"\x80\x02L" + b"9" * 900_000 + b"L\n."


# safetensors ---------------------------------------------------------------------------------------------------------


@file
def empty_tensors() -> bytes:
    tensors = {f"{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(50_000)}
    return safetensors({METADATA_KEY: "{}"}, tensors)


@file
def empty_tensors_beside_numbers() -> bytes:
    tensors = {f"{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(20_000)}
    tensors["all"] = {"dtype": "F32", "shape": [2_000_000], "data_offsets": [0, 8_000_000]}
    return safetensors({METADATA_KEY: "{}"}, tensors, 8_000_000)


@file
def a_header_of_nothing_but_spaces() -> bytes:
    return struct.pack("<Q", 20_000_000) + b"{" + b" " * (20_000_000 - 1)


@file
def lists_in_the_metadata() -> bytes:
    return described("[" + "[]," * 1_000_000 + "[]]")


@file
def lists_in_small_metadata() -> bytes:
    return described("[" + "[]," * 300_000 + "[]]")


@file
def numbers_that_collide() -> bytes:
    return described(json.dumps({str((2**61 - 1) * i): 0 for i in range(1, 30_000)}))


@file
def deeply_nested_lists() -> bytes:
    return described('{"network": ' + "[" * 90_000 + "]" * 90_000 + "}")


@file
def deeply_nested_objects() -> bytes:
    return described('{"a":' * 90_000 + "1" + "}" * 90_000)


@file
def a_number_too_long_for_python() -> bytes:
    return described('{"network": "Generator", "config": {"resolution": ' + "9" * 5000 + "}}")


@file
def rings_without_an_end() -> bytes:
    config = {"padded_resolutions": [4] * 50_000, "code": {"num_layers": 4, "w_dim": 4, "channels": {"4": 0}}}
    return described(json.dumps({"network": "PadInvEncoder", "config": config}))


@pytest.mark.parametrize("name", FILES)
def test_hostile_files(tmp_path: Path, loading: LoadingProcess, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name]())
    outcome = loading.load(path)
    assert outcome.seconds < 3  # a tenth of that, on a machine that does nothing else
    assert outcome.taken < 4 * path.stat().st_size + 24 * MEGABYTE
    assert str(path) in outcome.message
    assert len(outcome.message) < 1500


DAMAGED = {
    "list": described("[1]"),
    "number": described("1"),
    "network of a list": described('{"network": [1], "config": {}}'),
    "without a network": described('{"config": {}}'),
    "config of text": described('{"network": "Generator", "config": "big"}'),
    "generator of a list": described('{"network": "Generator", "config": {}, "generator": []}'),
    "no JSON": described("{"),
    "metadata of another type": safetensors({METADATA_KEY: {"a": 1}}),
    "metadata of a list": safetensors([1]),
    "unknown type": safetensors({}, {"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, 4),
    "overlap": safetensors(
        {},
        {
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        },
        12,
    ),
    "hole": safetensors({}, {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, 8),
    "backwards": safetensors({}, {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, 4),
    "negative": safetensors({}, {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, 4),
    "overflow": safetensors({}, {"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 4]}}, 4),
    "huge": safetensors({}, {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, 4),
    "cut": safetensors({}, {"a": {"dtype": "F32", "shape": [100], "data_offsets": [0, 400]}}, 200),
    "cut header": safetensors({METADATA_KEY: "x" * 1000})[:500],
    "no text": struct.pack("<Q", 20) + b"{" + b"\xff" * 19,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_safetensors(tmp_path: Path, name: str) -> None:
    """Of networks, of directions and of codes: one sentence without the words of a library."""
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(DAMAGED[name])
    generator = load_generator("congress64")
    for load in (load_generator, load_directions, lambda path: Inversion.load(path, generator)):
        with pytest.raises(CheckpointError, match=r"damaged\.safetensors") as raised:
            load(path)
        assert not any(word in str(raised.value) for word in ("Error", "deserializ", "JSON", "NoneType"))


def test_numbers_as_keys_come_back(tmp_path: Path) -> None:
    assert parse_description('{"4": {"512": 1}, "a": [], "0123456789": 2}', "x") == {
        4: {512: 1},
        "a": [],
        "0123456789": 2,
    }
