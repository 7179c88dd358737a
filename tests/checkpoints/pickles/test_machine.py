from __future__ import annotations

import functools
import importlib
import io
import operator
import os
import pickle
import re
import struct
import subprocess
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import formats
from loading_apart import LoadingProcess
from padinv import Generator, load_generator
from padinv.checkpoints.pickles.calls import find
from padinv.checkpoints.pickles.machine import Inert
from padinv.checkpoints.pickles.torch_files import STREAM_MAGIC
from padinv.exceptions import CheckpointError

MEGABYTE = 2**20


class Chain:
    """Pickled as a chain of calls, each on what the one before returns."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.parts = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.parts


def attacks(witness: Path) -> dict[str, tuple[bytes, str]]:
    """Pickles that would write a file, were they loaded by pickle, each with the name that the error must show."""
    write = f"__import__('pathlib').Path({str(witness)!r}).write_text('run')"
    shell = f"echo run > {witness}"
    dump = pickle.dumps
    return {
        "os.system": (dump(Chain(os.system, shell)), "posix.system"),
        "protocol 0": (b"cos\nsystem\n(S'" + shell.encode() + b"'\ntR.", "os.system"),
        "inst": (b"(S'" + shell.encode() + b"'\nios\nsystem\n.", "os.system"),
        "obj": (b"(cos\nsystem\nS'" + shell.encode() + b"'\no.", "os.system"),
        "subprocess": (dump(Chain(subprocess.check_output, ["sh", "-c", shell])), "subprocess.check_output"),
        "Popen": (dump(Chain(subprocess.Popen, ["sh", "-c", shell])), "subprocess.Popen"),
        "eval": (dump(Chain(eval, write)), "builtins.eval"),
        "exec": (dump(Chain(exec, write)), "builtins.exec"),
        "eval, Python 2's name": (b"c__builtin__\neval\n(S" + repr(write).encode() + b"\ntR.", "__builtin__.eval"),
        "chain": (dump(Chain(map, eval, [write])), "builtins.map"),
        "chain of imports": (dump(Chain(getattr, Chain(importlib.import_module, "os"), "system")), "builtins.getattr"),
        "getattr of what is allowed": (dump(Chain(getattr, torch.Size, "__class__")), "builtins.getattr"),
        "dotted name": (b"\x80\x04\x8c\x05torch\x8c\x17Size.__class__.__base__\x93.", "torch.Size.__class__"),
        "dotted module": (b"\x80\x04\x8c\x10torch.nn.modules\x8c\x0e..os.system.sh\x93.", "os.system"),
        "attrgetter": (dump(operator.attrgetter("system")), "operator.attrgetter"),
        "partial": (dump(functools.partial(eval, write)), "functools.partial"),
        "nested": (dump(Chain(pickle.loads, dump(Chain(eval, write)))), "_pickle.loads"),
        "torch.load": (dump(Chain(torch.load, io.BytesIO(b""))), "torch.serialization.load"),
        "code": (dump(Chain(types.SimpleNamespace)), "types.SimpleNamespace"),
        "set_state": (dump(Chain(setattr, 1, "x", 1)), "builtins.setattr"),
        "extension": (b"\x80\x02\x82\x01.", "EXT1"),
        "__reduce__ of a stand-in": (b"\x80\x02cargparse\nNamespace\n)R)R.", "argparse.Namespace"),
        "call of a number": (b"\x80\x02K\x01)R.", "calls a int, which is no function"),
        "by keywords": (
            b"\x80\x04cos\nsystem\n)}X\x07\x00\x00\x00commandV" + shell.encode() + b"\ns\x92.",
            "os.system",
        ),
    }


def bare(payload: bytes) -> bytes:
    return payload


def archive(payload: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        written.writestr("archive/data.pkl", payload)
        written.writestr("archive/version", "3")
    return file.getvalue()


def stream(payload: bytes) -> bytes:
    return (
        STREAM_MAGIC + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2) + payload + pickle.dumps([], 2)
    )


def storage(payload: bytes) -> bytes:
    """Inside of the bytes that NVIDIA's files hold for each tensor."""
    return pickle.dumps(Chain(torch.storage._load_from_bytes, stream(payload)))


@pytest.mark.parametrize("container", [bare, archive, stream, storage])
@pytest.mark.parametrize("name", attacks(Path("file")))
def test_attacks_run_nothing_and_are_named(tmp_path: Path, name: str, container: Callable[[bytes], bytes]) -> None:
    payload, shown = attacks(tmp_path / "witness")[name]
    path = tmp_path / "network.pkl"
    path.write_bytes(container(payload))
    with pytest.raises(CheckpointError, match=f"(?s)network.pkl.*{shown}"):
        load_generator(path)
    assert not (tmp_path / "witness").exists()


def test_attacks_beside_weights_run_nothing(tmp_path: Path) -> None:
    generator = Generator(8, z_dim=4, w_dim=4, mapping_layers=1, channels={4: 4, 8: 4})
    write = f"__import__('pathlib').Path({str(tmp_path / 'witness')!r}).write_text('run')"
    calls = [Chain(os.system, f"echo run > {tmp_path / 'witness'}"), Chain(eval, write), Chain(exec, write)]
    path = tmp_path / "network.pth"
    for zipped in (True, False):
        content = {"first": calls, "models": {"generator": formats.hammer_generator(generator)}, "last": calls}
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        assert torch.equal(load_generator(path).synthesis.const, generator.synthesis.const)
    path.write_bytes(pickle.dumps(content))
    load_generator(path)
    assert not (tmp_path / "witness").exists()


def test_the_attacks_are_real(tmp_path: Path) -> None:
    for name in ("os.system", "protocol 0", "inst", "obj", "subprocess", "eval", "exec", "nested"):
        witness = tmp_path / name.replace(" ", "")
        pickle.loads(attacks(witness)[name][0])
        assert witness.exists(), name


def test_source_text_in_a_file_is_never_run(tmp_path: Path) -> None:
    source = f"open({str(tmp_path / 'witness')!r}, 'w').write('run')\nclass Module: pass\n"
    network = formats.persistent({"weight": torch.ones(1)}, source=source)
    path = formats.write_ada(tmp_path / "network.pkl", G_ema=network)
    with pytest.raises(CheckpointError, match="holds no Generator"):
        load_generator(path)
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.system", "torch.load", "torch.nn.modules.x.y.z", "numpy.load", "pathlib.Path.unlink", "argparse.Namespace",
        "dnnlib.tflib.network.Network", "torch.nn.modules.conv.Conv2d", "easydict.EasyDict", "builtins.getattr",
    ],
)  # fmt: skip
def test_names_of_anything_but_data_are_inert(name: str) -> None:
    assert find(name).call is None
    assert Inert(name, (1,)).args == (1,)


# Bombs: small files that would make large objects, or never end ------------------------------------------------------


def nested_bytes(depth: int, size: int) -> bytes:
    """Files inside of files, all of them nearly as large as the outermost."""
    content = b"\x80\x04N0" + b"B" + struct.pack("<I", size) + bytes(size) + b"."
    for _ in range(depth):
        content = stream(
            b"\x80\x04ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(content)) + content + b"\x85R."
        )
    return content


def view(shape: tuple[int, ...], stride: tuple[int, ...], times: int = 1) -> bytes:
    """Tensors of this shape and stride over a storage of four bytes."""
    file = io.BytesIO()
    call = b"ctorch._utils\n_rebuild_tensor_v2\n("
    call += b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQK\x00"
    call += pickle.dumps(shape, 2)[2:-1] + pickle.dumps(stride, 2)[2:-1] + b"\x89}tR"
    with zipfile.ZipFile(file, "w") as written:
        written.writestr("archive/data.pkl", b"\x80\x02" + b"(" + call * times + b"l.")
        written.writestr("archive/data/0", bytes(4))
    return file.getvalue()


def claimed_storage(count: int) -> bytes:
    call = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    return stream(b"\x80\x02" + call + b"\x8a\x08" + struct.pack("<q", count) + b"NtQ.")


def squeezed() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr(
            "archive/data.pkl", b"\x80\x04B" + struct.pack("<I", 256 * MEGABYTE) + bytes(256 * MEGABYTE) + b"."
        )
    return file.getvalue()


def entries(count: int) -> bytes:
    """A zip archive that is almost nothing but a table of contents."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    table = entry * count
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count % 65536, count % 65536, len(table), 30, 0)
    return b"PK\x03\x04" + bytes(26) + table + end


BOMBS: dict[str, Callable[[], bytes]] = {
    "bytes of a claimed length": lambda: b"\x80\x05\x8e" + struct.pack("<Q", 2**33) + b"x.",
    "bytearray of a claimed length": lambda: b"\x80\x05\x96" + struct.pack("<Q", 2**33) + b"x.",
    "text of a claimed length": lambda: b"\x80\x04\x8d" + struct.pack("<Q", 2**33) + b"x.",
    "frame of a claimed length": lambda: b"\x80\x04\x95" + struct.pack("<Q", 2**33) + b"N.",
    "number of a claimed length": lambda: b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"1.",
    "memory at a large index": lambda: b"\x80\x02Nr" + struct.pack("<I", 2**32 - 1) + b".",
    "many lists": lambda: b"\x80\x02(" + b"]" * 20 * MEGABYTE + b"l.",
    "many sets": lambda: b"\x80\x04(" + b"\x8f" * 20 * MEGABYTE + b"l.",
    "many marks": lambda: b"\x80\x02" + b"(" * 20 * MEGABYTE + b".",
    "deep lists": lambda: b"\x80\x02" + b"]" * 49_000 + b"a" * 48_999 + b".",
    "deep tuples": lambda: b"\x80\x02N" + b"\x85" * 99_000 + b".",
    "deep stand-ins": lambda: b"\x80\x02cargparse\nNamespace\nq\x000" + b"h\x00)R" * 20_000 + b"b" * 19_999 + b".",
    "many stand-ins": lambda: b"\x80\x02(ca\nb\nq\x00" + b"h\x00)R" * 5 * MEGABYTE + b"l.",
    "many names": lambda: b"\x80\x02(" + b"ca\n\n" * 5 * MEGABYTE + b"l.",
    "many names of one text": lambda: (
        b"\x80\x04](X" + struct.pack("<I", MEGABYTE) + b"a" * MEGABYTE + b"q\x000" + b"h\x00h\x00\x93" * 15_000 + b"e."
    ),
    "dictionaries of one's items": lambda: (
        b"\x80\x02](ccopy_reg\n_reconstructor\nq\x00ca\nb\nq\x01}("
        + b"".join(b"J" + struct.pack("<i", i) + b"N" for i in range(30_000))
        + b"uq\x02"
        + b"h\x00h\x01h\x01h\x02\x87R" * 5_000
        + b"e."
    ),
    "laughs": lambda: b"\x80\x02]" + b"2\x86" * 5_000 + b".",
    "laughs as a key": lambda: b"\x80\x02}N" + b"2\x86" * 60 + b"Ns.",
    "laughs in a set": lambda: b"\x80\x04\x8f(N" + b"2\x86" * 60 + b"\x90.",
    "keys of one hash": lambda: (
        b"\x80\x02}("
        + b"".join(b"\x8a\x0a" + (i * (2**61 - 1)).to_bytes(10, "little") + b"N" for i in range(45_000))
        + b"u."
    ),
    "sets of a long list": lambda: (
        b"\x80\x02](" + b"N" * 50_000 + b"eq\x000c__builtin__\nset\nq\x010(" + b"h\x01h\x00\x85R" * 8_000 + b"l."
    ),
    "text of wide characters": lambda: (
        b"\x80\x04X" + struct.pack("<I", 20 * MEGABYTE) + "\U0001f600".encode() + b"a" * (20 * MEGABYTE - 4) + b"."
    ),
    "text without an end": lambda: b"V" + b"a" * 20 * MEGABYTE,
    "line of wide characters": lambda: b"V\\U0001f600" + b"a" * 20 * MEGABYTE + b"\n.",
    "one text made bytes many times": lambda: (
        b"\x80\x02X"
        + struct.pack("<I", MEGABYTE)
        + b"a" * MEGABYTE
        + b"q\x000c_codecs\nencode\nq\x010("
        + b"h\x01h\x00\x85R" * 15_000
        + b"l."
    ),
    "files inside of files": lambda: nested_bytes(100, 4 * MEGABYTE),
    "large tensor of one number": lambda: view((2**20, 2**20), (0, 0)),
    "many tensors of one number": lambda: view((2**10, 2**10), (0, 0), times=2_000),
    "tensor beyond its storage": lambda: view((2,), (1,)),
    "tensor of a negative size": lambda: view((-1,), (1,)),
    "tensor of many axes": lambda: view((1,) * 100, (1,) * 100),
    "storage of a claimed length": lambda: claimed_storage(2**33),
    "storage of a negative length": lambda: claimed_storage(-1),
    "squeezed archive": squeezed,
    "archive of many entries": lambda: entries(400_000),
}

MESSAGES = {
    "bytes of a claimed length": "a value of 8589934592 bytes",
    "bytearray of a claimed length": "a value of 8589934592 bytes",
    "text of a claimed length": "a value of 8589934592 bytes",
    "frame of a claimed length": "but nothing at all",
    "number of a claimed length": "a value of 2147483647 bytes",
    "memory at a large index": "but nothing at all",
    "many lists": "more steps",
    "many sets": "more steps",
    "many marks": "more steps",
    "deep lists": "but a list",
    "deep tuples": "but a tuple",
    "deep stand-ins": "known format",
    "many stand-ins": "more steps",
    "many names": "more steps",
    "many names of one text": "more text",
    "dictionaries of one's items": "more steps",
    "laughs": "but a tuple",
    "laughs as a key": r"known format, but the entries 'an object of builtins.tuple'",
    "laughs in a set": "known format, but a set",
    "keys of one hash": r"known format, but the entries '0', 'an object of builtins.int'",
    "sets of a long list": "more steps",
    "text of wide characters": "a value of 20971520 bytes",
    "line of wide characters": "more text",
    "text without an end": "more text",
    "one text made bytes many times": "more text",
    "files inside of files": "inside of a file inside",
    "large tensor of one number": "more tensors",
    "many tensors of one number": "more tensors",
    "tensor beyond its storage": r"shape \(2,\) in a storage of 1",
    "tensor of a negative size": "proper shape",
    "tensor of many axes": "proper shape",
    "storage of a claimed length": "more storage",
    "storage of a negative length": "more storage",
    "squeezed archive": "compressed archive",
    "archive of many entries": "more entries",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_in_time_and_memory(tmp_path: Path, loading: LoadingProcess, name: str) -> None:
    path = tmp_path / "network.pkl"
    path.write_bytes(BOMBS[name]())
    outcome = loading.load(path)
    assert re.search(rf"network\.pkl .*{MESSAGES[name]}", outcome.message)
    assert outcome.seconds < 10
    assert outcome.taken < 4 * path.stat().st_size + 24 * MEGABYTE


def test_a_large_sound_file_takes_little_more_than_its_size(tmp_path: Path, loading: LoadingProcess) -> None:
    tensor = torch.zeros(8 * MEGABYTE)
    contents = {"G_ema": formats.persistent({"a": tensor, "b": tensor + 1})}
    for path in (
        formats.write_ada(tmp_path / "network.pkl", **contents),
        formats.write_pickle(
            (formats.tf_network("G", {"a": tensor.numpy(), "b": tensor.numpy() + 1}),), tmp_path / "tf.pkl"
        ),
    ):
        outcome = loading.load(path, "open_checkpoint")
        assert "holds no Generator" in outcome.message
        assert outcome.taken < 4 * path.stat().st_size


def test_a_storage_without_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "network.pkl").write_bytes(claimed_storage(1))
    with pytest.raises(CheckpointError, match="it lacks the numbers of some of its tensors"):
        load_generator(tmp_path / "network.pkl")


def test_truncated_files(tmp_path: Path) -> None:
    whole = {}
    for zipped in (True, False):
        file = io.BytesIO()
        torch.save(
            {"g_ema": formats.state("rosinality", "d")["convs.0.0.weight"]}, file, _use_new_zipfile_serialization=zipped
        )
        whole[f"torch {zipped}"] = file.getvalue()
    whole["pickle"] = pickle.dumps({"G": 1})
    for content in whole.values():
        for length in (0, 1, 8, len(content) // 2, len(content) - 1):
            (tmp_path / "network.pt").write_bytes(content[:length])
            with pytest.raises(CheckpointError, match=r"network\.pt cannot be read"):
                load_generator(tmp_path / "network.pt")
