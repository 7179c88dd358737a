"""Mutated files of every format: loading one gives a network or a CheckpointError, soon and in little memory."""

from __future__ import annotations

import argparse
import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings

import formats
import padinv
from loading_apart import LoadingProcess
from padinv import Discriminator, Generator, PadInvEncoder
from padinv.checkpoints import save_network
from padinv.checkpoints.native import LIGHTNING_KEY

MEGABYTE = 2**20
CHANNELS = {4: 4, 8: 4}


@dataclass(frozen=True)
class Valid:
    """A valid file: the part of it that is mutated, how the file is made of that, what loads it."""

    part: bytes
    wrap: Callable[[bytes], bytes]
    loader: str


def unzipped(file: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The pickle in an archive, which has checksums, and how to put another in its place."""
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = (name for name in parts if name.endswith("/data.pkl"))

    def wrap(part: bytes) -> bytes:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            for name, content in {**parts, pickled: part}.items():
                archive.writestr(name, content)
        return target.getvalue()

    return parts[pickled], wrap


def whole(part: bytes) -> bytes:
    return part


@cache
def valid_files() -> dict[str, Valid]:
    torch.manual_seed(0)
    generator = Generator(8, z_dim=4, w_dim=4, mapping_layers=2, channels=CHANNELS)
    discriminator = Discriminator(8, channels=CHANNELS)
    encoder = PadInvEncoder(generator.code_shape, resolution=32, depth=18, width=2)
    run = {
        LIGHTNING_KEY: {"PadInvEncoder": encoder.config},
        "state_dict": {f"encoder.{key}": tensor for key, tensor in encoder.state_dict().items()},
    }
    rosinality = {"g_ema": formats.small_rosinality(), "args": {"size": 8}}
    psp = {"state_dict": {f"decoder.{k}": t for k, t in rosinality["g_ema"].items()}, "latent_avg": torch.ones(4, 4)}
    valid: dict[str, Valid] = {}

    def add(name: str, write: Callable[[Path], Any], loader: str = "load_generator") -> None:
        with tempfile.TemporaryDirectory() as folder:
            write(path := Path(folder) / "file")
            content = path.read_bytes()
        valid[name] = Valid(content, whole, loader)
        if zipfile.is_zipfile(io.BytesIO(content)):
            valid[f"pickle in {name}"] = Valid(*unzipped(content), loader)

    def save(content: Any, *, zipped: bool) -> Callable[[Path], None]:
        return lambda path: torch.save(content, path, _use_new_zipfile_serialization=zipped)

    add("safetensors", lambda path: save_network(generator, path))
    add("rosinality", save(rosinality, zipped=True))
    add("rosinality, old container", save(rosinality, zipped=False))
    add("pSp", save(psp, zipped=True))
    add("Hammer", save({"models": {"generator": formats.hammer_generator(generator)}}, zipped=True))
    options = {"mapping_lr_mul": 0.02, "noise_type": "spatial", "filter_kernel": [1, 3, 3, 1], "conv_clamp": 256}
    beside = {"model_kwargs_init": {"generator": argparse.Namespace(**options)}, "loss": {"l1": torch.nn.L1Loss()}}
    models = {"models": {"generator": formats.hammer_generator(generator)}}
    add("Hammer's runner", save({**models, **beside}, zipped=True))
    add("Lightning", save(run, zipped=True), "load_encoder")
    ada = formats.persistent(formats.small_ada())
    add("NVIDIA ADA", lambda path: formats.write_ada(path, G_ema=ada))
    networks = (formats.tf_network("G", {}), formats.tf_discriminator(discriminator), formats.tf_generator(generator))
    add("NVIDIA TensorFlow", lambda path: formats.write_pickle(networks, path))
    add("NVIDIA TensorFlow, discriminator", lambda path: formats.write_pickle(networks, path), "load_discriminator")
    return valid


numbers = st.sampled_from([0, 1, 2, 3, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1])
changes = st.one_of(
    st.tuples(st.just("byte"), st.floats(0, 1), st.integers(0, 255)),
    st.tuples(st.just("number"), st.floats(0, 1), st.tuples(numbers, st.sampled_from([1, 2, 4, 8]))),
    st.tuples(st.just("insert"), st.floats(0, 1), st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("remove"), st.floats(0, 1), st.integers(1, 64)),
    st.tuples(st.just("repeat"), st.floats(0, 1), st.integers(1, 64)),
    st.tuples(st.just("cut"), st.floats(0, 1), st.none()),
)


def mutate(part: bytes, mutations: list[tuple[str, float, Any]]) -> bytes:
    for kind, where, value in mutations:
        # Most of a file is numbers, which all are valid: three in four changes go to its first part.
        at = int(where * 4 / 3 * min(len(part), 2048)) if where < 0.75 else int(where * len(part))
        head, tail = part[:at], part[at:]
        if kind == "byte":
            part = head + bytes([value]) + tail[1:]
        elif kind == "number":
            raw = (value[0] % 256 ** value[1]).to_bytes(value[1], "little")
            part = head + raw + tail[len(raw) :]
        elif kind == "insert":
            part = head + value + tail
        elif kind == "remove":
            part = head + tail[value:]
        elif kind == "repeat":
            part = head + tail[:value] + tail
        else:
            part = head
    return part


def check(path: Path, name: str, mutations: list[tuple[str, float, Any]], loading: LoadingProcess) -> None:
    valid = valid_files()[name]
    path.write_bytes(valid.wrap(mutate(valid.part, mutations)))
    outcome = loading.load(path, valid.loader)
    assert outcome.seconds < 10
    assert outcome.taken < 4 * path.stat().st_size + 16 * MEGABYTE
    assert outcome.loaded in ("Generator", "Discriminator", "PadInvEncoder") or str(path) in outcome.message


@pytest.mark.parametrize("name", valid_files())
def test_valid_files_load(tmp_path: Path, name: str) -> None:
    valid = valid_files()[name]
    (tmp_path / "file").write_bytes(valid.wrap(valid.part))
    assert not getattr(padinv, valid.loader)(tmp_path / "file").training


cases = {"name": st.sampled_from(sorted(valid_files())), "mutations": st.lists(changes, min_size=1, max_size=3)}
fuzzing = settings(
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@settings(fuzzing, max_examples=300)
@given(**cases)
def test_mutated_files(
    tmp_path_factory: pytest.TempPathFactory, loading: LoadingProcess, name: str, mutations: list[Any]
) -> None:
    check(tmp_path_factory.getbasetemp() / "mutated", name, mutations, loading)


@pytest.mark.slow
@settings(fuzzing, max_examples=10_000)
@given(**cases)
def test_ten_thousand_mutated_files(
    tmp_path_factory: pytest.TempPathFactory, loading: LoadingProcess, name: str, mutations: list[Any]
) -> None:
    check(tmp_path_factory.getbasetemp() / "mutated", name, mutations, loading)


@pytest.mark.parametrize(
    "change",
    [
        {"mapping_layers": 10**9},
        {"mapping_layers": -1},
        {"mapping_layers": "2"},
        {"resolution": 2**40},
        {"z_dim": 2**40},
        {"channels": {"4": 2**40, "8": 4}},
        {"channels": {"4": 2048, "8": 4}},
        {"channels": [4, 8]},
        {"unknown": 1},
        {"code": {"num_layers": 10**9, "w_dim": 4, "channels": {}}},
    ],
)
def test_configurations_that_make_no_sense(tmp_path: Path, loading: LoadingProcess, change: dict[str, Any]) -> None:
    part = valid_files()["safetensors"].part
    length = struct.unpack("<Q", part[:8])[0]
    header = json.loads(part[8 : 8 + length])
    description = json.loads(header["__metadata__"]["padinv"])
    description["config"] |= change
    header["__metadata__"]["padinv"] = json.dumps(description)
    raw = json.dumps(header).encode()
    path = tmp_path / "network.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + part[8 + length :])
    outcome = loading.load(path)
    assert "network.safetensors" in outcome.message
    assert outcome.taken < 16 * MEGABYTE
