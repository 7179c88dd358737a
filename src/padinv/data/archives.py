"""Images in zip files and in LSUN's LMDB directories."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from padinv.data.files import is_image, is_visible
from padinv.data.names import Names
from padinv.exceptions import DataError, MissingPackageError
from padinv.images import MAX_BYTES, limited

if TYPE_CHECKING:
    import lmdb


class ZipSource:
    """The image members of a zip file, stored or deflated, sorted by name.

    The directory of a zip file is read once, here, and kept as arrays (21 bytes an image beside its name): `ZipFile`
    would hold an object for each member in every worker.

    Args:
        path: The zip file.

    Raises:
        DataError: It is not a zip file, or it is damaged.
    """

    _local_header = struct.Struct("<4s22xHH")  # signature, what the directory says better, lengths of name and extra

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        try:
            with zipfile.ZipFile(path) as archive:
                members = [m for m in archive.infolist() if _is_member(m)]
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            wanted = "a folder, an image, a zip file or an LMDB directory"
            raise DataError(f"{path} is not a readable zip file ({error}): give {wanted}") from error
        members.sort(key=lambda member: member.filename)
        self.names = Names(member.filename for member in members)
        self._start = np.array([member.header_offset for member in members], dtype=np.int64)
        self._size = np.array([member.compress_size for member in members], dtype=np.int64)
        self._method = np.array([member.compress_type for member in members], dtype=np.uint8)
        self._crc = np.array([member.CRC for member in members], dtype=np.uint32)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """The path `archive.zip/member`."""
        return f"{self.path}/{self.names[index]}"

    def read(self, index: int) -> bytes:
        """The member's bytes, unpacked, and checked against its checksum."""
        with Path(self.path).open("rb") as file:
            file.seek(int(self._start[index]))
            header = file.read(self._local_header.size)
            if len(header) < self._local_header.size or not header.startswith(b"PK\3\4"):
                raise DataError("the zip file is damaged there")
            _, name_length, extra_length = self._local_header.unpack(header)
            file.seek(name_length + extra_length, os.SEEK_CUR)
            packed = file.read(min(int(self._size[index]), MAX_BYTES + 1))
        data = limited(_unpack(packed, int(self._method[index])))
        if zlib.crc32(data) != self._crc[index]:
            raise DataError("its checksum is wrong")
        return data


def _is_member(member: zipfile.ZipInfo) -> bool:
    return is_image(member.filename) and all(map(is_visible, member.filename.split("/"))) and not member.is_dir()


def _unpack(packed: bytes, method: int) -> bytes:
    if method == zipfile.ZIP_STORED:
        return packed
    if method != zipfile.ZIP_DEFLATED:
        raise DataError(f"zip method {method} is not supported: store or deflate")
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, MAX_BYTES + 1)
    except zlib.error as error:
        raise DataError(f"it cannot be unpacked ({error})") from error


class LmdbSource:
    """The images of an LSUN directory (`data.mdb`): each value is an encoded image, its key the name.

    Args:
        path: The directory.

    Raises:
        DataError: It is not an LMDB directory.
        MissingPackageError: The package `lmdb` is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        try:
            import lmdb
        except ImportError as error:
            mend = 'pip install "padinv[lmdb]"'
            raise MissingPackageError(f"{path} is an LMDB directory and the package lmdb is missing: {mend}") from error
        try:
            with self._open() as environment, environment.begin() as transaction, transaction.cursor() as cursor:
                keys = cursor.iternext(keys=True, values=False)
                self.names = Names(bytes(key).decode("utf-8", "surrogateescape") for key in keys)
        except lmdb.Error as error:
            raise DataError(f"{path} is not a readable LMDB directory: {error}") from error

    def _open(self) -> lmdb.Environment:
        import lmdb

        # Without lock and read-ahead: many processes read at random, also from a read-only disk.
        return lmdb.open(self.path, create=False, readonly=True, lock=False, readahead=False, meminit=False)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """The path `directory/key`."""
        return f"{self.path}/{self.names[index]}"

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
