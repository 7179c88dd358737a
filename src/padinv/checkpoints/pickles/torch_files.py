"""``torch.save`` files of both kinds, the zip archive and the older stream of pickles, without ``torch.load``.

``torch.load(weights_only=True)`` is not enough: it refuses the harmless objects that training scripts save beside
weights, allocates whatever size a file claims, and up to PyTorch 2.5 could run code (CVE-2025-32434).
"""

from __future__ import annotations

import io
import mmap
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from padinv.checkpoints.pickles import calls
from padinv.checkpoints.pickles.calls import Storage, storage_type
from padinv.checkpoints.pickles.first_bytes import LOOKED_AT, is_text, kind_of, kind_of_archive
from padinv.checkpoints.pickles.machine import Budget, File, Inert, Symbol, Unpickler
from padinv.exceptions import CheckpointError, PadInvError

ZIP_MAGIC = b"PK\x03\x04"
STREAM_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # a pickle of the number 0x1950a86a20f9469cfc6c
OTHER_MAGIC = re.compile(  # the same in the other protocols, from the fourth on in a frame
    rb"(\x80[\x03-\x05](\x95.{8})?" + re.escape(STREAM_MAGIC[2:-1]) + rb"|[IL]119547037146038801333356L?\n)\.",
    re.DOTALL,
)
ENTRY_MAGIC = b"PK\x01\x02"  # before each entry of an archive's directory

FILE_INSIDE = "torch.storage._load_from_bytes"
"""The name that pickle.dumps writes for a tensor's memory: a function that is called with a torch.save file."""


def read_pickle(path: Path) -> Any:
    """Reads a pickle, or a file of ``torch.save`` of either kind.

    Raises:
        CheckpointError: if it is something else; the message says what, without the file's name.
        Exception: of many kinds, if it is damaged.
    """
    size = path.stat().st_size
    if not size:
        raise CheckpointError("it is empty; copy or download it again")
    budget = Budget(size)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        start, last = mapped[:LOOKED_AT], mapped[-1:]
        if what := kind_of(start):
            raise CheckpointError(f"it is {what}")
        try:
            if start.startswith(ZIP_MAGIC):
                return read_archive(file, budget, mapped.find)
            if is_stream(start[:64]):
                return read_stream(mapped, budget, find)
            return Unpickler(mapped, budget, find).load()
        except zipfile.BadZipFile as error:
            raise CheckpointError("it ends early, or is damaged; copy or download it again") from error
        except Exception as error:
            # A pickle may also look like text, but it ends with a dot, and fails later.
            if is_text(start) and last != b"." and mapped.tell() < 2**16:
                raise CheckpointError("it is text, such as a configuration or a log, not a checkpoint") from error
            if mapped.tell() >= size and not isinstance(error, PadInvError):
                raise CheckpointError("it ends early; copy or download it again") from error
            raise


def _check_byte_order(little_endian: bool) -> None:
    if little_endian != (sys.byteorder == "little"):
        raise CheckpointError(
            "it was written on a machine of the other byte order; load and save it there as safetensors"
        )


def read_archive(file: BinaryIO, budget: Budget, find_bytes: Callable[[bytes, int], int]) -> Any:
    """Reads a zip archive: ``NAME/data.pkl``, and each storage as ``NAME/data/KEY``.

    Args:
        file: the archive.
        budget: the file's.
        find_bytes: finds some bytes in the file from a position on; -1 if they are not there.
    """
    # Each entry of the table of contents takes 600 bytes of memory, but perhaps only 47 in the file.
    entries = at = 0
    while (at := find_bytes(ENTRY_MAGIC, at) + 1) > 0:
        entries += 1
        if entries > 2_000 + budget.size // 256:
            raise CheckpointError(f"it is an archive of more entries than its {budget.size} bytes can need")
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        folder = names[0].removesuffix("data.pkl") if len(names) == 1 else None
        if folder is None or f"{folder}constants.pkl" in archive.namelist():  # TorchScript has it beside data.pkl
            what = kind_of_archive(archive.namelist())
            raise CheckpointError(f"it is a zip archive, but not of torch.save{f', {what}' if what else ''}")

        def read(name: str) -> bytes:
            entry = archive.getinfo(folder + name)
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise CheckpointError("it is a compressed archive, which torch.save does not write")
            budget.spend("storage", entry.file_size)
            return archive.read(entry)

        if f"{folder}byteorder" in archive.namelist():
            _check_byte_order(read("byteorder") == b"little")
        storages: dict[str, Storage] = {}

        def persistent(reference: Any) -> Storage:
            kind, symbol, key, _, count = reference
            if kind != "storage" or not isinstance(key, str):
                raise CheckpointError("it refers to data of an unknown kind")
            if key not in storages:
                dtype = storage_type(symbol)
                raw = bytearray(read(f"data/{key}"))
                flat = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype, device="cpu")
                if len(flat) != count:
                    raise CheckpointError(f"its storage {key[:20]} has {len(flat)} numbers instead of {count}")
                storages[key] = Storage(flat)
            return storages[key]

        return Unpickler(io.BytesIO(read("data.pkl")), budget, find, persistent).load()


def is_stream(start: bytes) -> bool:
    """Tells by the first 64 bytes of a file whether it is of the older kind."""
    return start.startswith(STREAM_MAGIC) or OTHER_MAGIC.match(start) is not None


def read_stream(file: File, budget: Budget, find: Callable[[str], Symbol]) -> Any:
    """Reads the older kind: magic number, version, facts of the machine, the object, keys of storages, their bytes."""

    def load(persistent: Callable[[Any], Any] | None = None) -> Any:
        return Unpickler(file, budget, find, persistent).load()

    _, _, machine = load(), load(), load()
    _check_byte_order(machine.get("little_endian", True))
    storages: dict[str, Storage] = {}

    def persistent(reference: Any) -> Storage | Symbol:
        if reference[0] == "module" and isinstance(reference[1], Symbol):  # a class, with the text of its source
            return reference[1]
        kind, symbol, key, _, count, view = reference
        if kind != "storage" or not isinstance(key, str) or view is not None or type(count) is not int:
            raise CheckpointError("it refers to data of an unknown kind")
        if key not in storages:
            dtype = storage_type(symbol)
            budget.spend("storage", count * dtype.itemsize)
            storages[key] = Storage(torch.empty(count, dtype=dtype, device="cpu"))
        return storages[key]

    content = load(persistent)
    missing = set(storages)
    for key in load():
        flat = storages[key].flat
        size, raw = file.read(8), file.read(flat.numel() * flat.element_size())
        if len(size) == 8 and int.from_bytes(size, "little") != len(flat):
            raise CheckpointError(f"its storage {key[:20]} has another length than its tensors say")
        if len(size) < 8 or len(raw) != flat.numel() * flat.element_size():
            raise CheckpointError("it ends early; copy or download it again")
        flat.view(torch.uint8).numpy()[:] = np.frombuffer(raw, np.uint8)
        missing.discard(key)
    if missing:
        raise CheckpointError("it lacks the numbers of some of its tensors; copy or download it again")
    return content


def find(name: str) -> Symbol:
    """Looks a name up, as :func:`.calls.find`; for a nested torch.save file the stand-in reads that file.

    >>> find("collections.OrderedDict").call is None, find("os.system").call is None
    (False, True)
    """
    return Symbol(name, _read_storage) if name == FILE_INSIDE else calls.find(name)


def _find_inside(name: str) -> Symbol:
    if name == FILE_INSIDE:
        raise CheckpointError("it has a file inside of a file inside of a file, which no checkpoint needs")
    return calls.find(name)


def _read_storage(budget: Budget, content: bytes) -> Storage:
    """Reads one storage from a torch.save file inside of a pickle, where such a file holds nothing else."""
    if not isinstance(content, bytes) or not is_stream(content[:64]):
        raise CheckpointError("it has a storage that torch.save did not write")
    storage = read_stream(io.BytesIO(content), budget, _find_inside)
    if not isinstance(storage, Storage):
        shown = storage if isinstance(storage, Inert | Symbol) else f"a {type(storage).__name__}"
        raise CheckpointError(f"it has a file inside that holds {shown} in place of a storage")
    return storage
