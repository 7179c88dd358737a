"""Images in zip files and in LSUN's LMDB directories."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from padinv.exceptions import DataError, MissingPackageError
from padinv.images import MAX_BYTES, limited
from padinv.sources.folders import Members, Names, is_image, is_visible

if TYPE_CHECKING:
    import lmdb


class ZipSource(Members):
    """The image members of a zip file, stored or deflated, sorted by name.

    It reads the directory of the zip file once, and keeps 21 bytes an image beside its name. ``ZipFile`` would hold an
    object for each member, in every worker.

    Args:
        path: the zip file.

    Raises:
        DataError: if it is not a zip file, or it is damaged.
    """

    _local_header = struct.Struct("<4s22xHH")  # signature, what the directory tells too, lengths of name and extra

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        members = []
        try:
            for member in _directory(path):
                parts = [part for part in member.name.split("/") if part not in (".", "..")]
                if not all(map(is_visible, parts)) or member.name.endswith("/"):
                    continue
                if is_image(member.name) and ".." not in member.name.split("/"):  # that would be outside of the file
                    members.append(member)
                else:
                    self.left_out.add(member.name)
        except (DataError, OSError, struct.error) as error:
            wanted = "a folder, an image, a zip file or an LMDB directory"
            raise DataError(f"{path} is not a readable zip file ({error}): give {wanted}") from error
        members.sort(key=lambda member: member.name)
        self.names = Names(member.name for member in members)
        self._places = np.array([member[1:] for member in members], dtype=PLACE)

    def read(self, index: int) -> bytes:
        """The member's bytes, unpacked, and checked against its checksum."""
        start, size, method, crc = self._places[index].tolist()
        with Path(self.path).open("rb") as file:
            file.seek(start)
            header = file.read(self._local_header.size)
            if len(header) < self._local_header.size or not header.startswith(b"PK\3\4"):
                raise DataError("the zip file is damaged there")
            _, name_length, extra_length = self._local_header.unpack(header)
            file.seek(name_length + extra_length, os.SEEK_CUR)
            packed = file.read(min(size, MAX_BYTES + 1))
        data = limited(_unpack(packed, method))
        if zlib.crc32(data) != crc:
            raise DataError("its checksum is wrong")
        return data


class Member(NamedTuple):
    """What the directory of a zip file says of a file in it."""

    name: str
    start: int
    size: int
    method: int
    """The method of compression; ``ENCRYPTED`` if the member is encrypted, and so cannot be read."""
    crc: int


PLACE = np.dtype([("start", np.int64), ("size", np.int64), ("method", np.int8), ("crc", np.uint32)])
"""A member without its name: 21 bytes."""

ENCRYPTED = -1
IN_EXTRA = 0xFFFFFFFF
"""Stands for a number that is too large for its place; the extra fields hold it (zip64)."""


def _directory(path: Path) -> Iterator[Member]:
    """Reads the directory of a zip file, member by member.

    Python's ``ZipFile`` refuses the whole file if one name is no UTF-8, or one member needs a newer program.
    """
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - 22 - 0xFFFF))  # the end's record, and the longest comment
        tail = file.read()
        at = tail.rfind(b"PK\5\6")  # the end, which a comment may follow
        if at < 0 or len(tail) < at + 22:
            raise DataError("it is none, or it ends early")
        size, start = struct.unpack_from("<2L", tail, at + 12)
        end = length - len(tail) + at
        if at >= 20 and tail[at - 20 : at - 16] == b"PK\6\7":  # zip64 has two more records before the end
            end -= 20 + 56
            file.seek(max(0, end))
            size, start = struct.unpack_from("<2Q", file.read(56), 40)
        before = end - size - start  # such as a program that unpacks the archive
        if before < 0:
            raise DataError("it is cut off or damaged")
        file.seek(end - size)
        directory = file.read(size)
    at = 0
    while at < len(directory):
        if directory[at : at + 4] != b"PK\1\2":
            raise DataError("its directory is damaged")
        flags, method, crc, packed, unpacked, *lengths, start = struct.unpack_from("<8x2H4x3L3H8xL", directory, at)
        name = directory[at + 46 : at + 46 + lengths[0]]
        extra = directory[at + 46 + lengths[0] : at + 46 + lengths[0] + lengths[1]]
        at += 46 + sum(lengths)
        large = _large_numbers(extra)
        _, packed, start = (next(large) if number == IN_EXTRA else number for number in (unpacked, packed, start))
        # Bit 11 says that the name is UTF-8.
        text = name.decode("utf-8", "surrogateescape") if flags & 0x800 else name.decode("cp437")
        yield Member(text.partition("\0")[0], before + start, packed, ENCRYPTED if flags & 1 else min(method, 127), crc)


def _large_numbers(extra: bytes) -> Iterator[int]:
    """The numbers of zip64's extra field, in their order."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            for (number,) in struct.iter_unpack("<Q", extra[4 : 4 + length // 8 * 8]):
                yield number
        extra = extra[4 + length :]
    raise DataError("its directory is damaged")


def _unpack(packed: bytes, method: int) -> bytes:
    if method == zipfile.ZIP_STORED:
        return packed
    if method == ENCRYPTED:
        raise DataError("it is encrypted: unpack the zip file")
    if method != zipfile.ZIP_DEFLATED:
        raise DataError(f"zip method {method} is not supported: pack it anew, by store or deflate")
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, MAX_BYTES + 1)
    except zlib.error as error:
        raise DataError(f"it cannot be unpacked ({error})") from error


class LmdbSource(Members):
    """The images of an LSUN directory (``data.mdb``): each value is an encoded image, its key the name.

    Args:
        path: the directory.

    Raises:
        DataError: if it is not an LMDB directory.
        MissingPackageError: if the package ``lmdb`` is not installed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            import lmdb
        except ImportError as error:
            mend = 'pip install "padinv[lmdb]"'
            raise MissingPackageError(f"{path} is an LMDB directory and the package lmdb is missing: {mend}") from error
        try:
            with self._open() as environment, environment.begin() as transaction, transaction.cursor() as cursor:
                keys = cursor.iternext(keys=True, values=False)
                self.names = Names(bytes(key).decode("utf-8", "surrogateescape") for key in keys)
        except (lmdb.Error, DataError) as error:
            raise DataError(f"{path} is not a readable LMDB directory: {error}") from error

    def _open(self) -> lmdb.Environment:
        import lmdb

        _check_lmdb(Path(self.path, "data.mdb"))
        # Without lock and read-ahead: many processes read at random, also from a read-only disk.
        return lmdb.open(self.path, create=False, readonly=True, lock=False, readahead=False, meminit=False)

    def read(self, index: int) -> bytes:
        """The value of the key."""
        import lmdb

        try:
            with self._open() as environment, environment.begin() as transaction:
                data = transaction.get(self.names[index].encode("utf-8", "surrogateescape"))
        except lmdb.Error as error:
            raise DataError(str(error)) from error
        if data is None:
            raise DataError("the key is gone")
        return limited(data)


def _check_lmdb(path: Path) -> None:
    """Raises DataError, with the reason only, if a database is shorter than it says.

    LMDB maps the file into memory, where a read beyond its end kills the process (SIGBUS).
    """
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        if not length:
            raise DataError(f"{path.name} is empty, copy it again")
        first = file.read(META.size)
        page = META.unpack(first)[1] if len(first) == META.size else 0
        file.seek(page)
        metas = [META.unpack(meta) for meta in (first, file.read(META.size)) if len(meta) == META.size]
    valid = [(turn, size * (last + 1)) for magic, size, last, turn in metas if magic == LMDB_MAGIC]
    # Files from systems of 32 bits or another byte order have these numbers elsewhere; LMDB itself refuses them.
    if valid and length < max(valid)[1]:
        raise DataError(f"it is cut off: it has {length:,} of {max(valid)[1]:,} bytes, copy it again")


LMDB_MAGIC = 0xBEEFC0DE
META = struct.Struct("<16xI20xI92xQQ")
"""A page about the whole database: behind its header, a magic number, the size of pages, the last page in use, and the
number of the last transaction. There are two such pages; the one with the later transaction counts."""
