"""Rows of a file that any number of processes read and write at once: each is whole, or not there.

A row is some bytes, all rows of a file as many, and the xxh3-64 of them, seeded with the number of
the row. One that was never written, or that a crash or two writers left in pieces, is not there.
So nothing has to be on disk before anything else is.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import xxhash

from dtrak_stream.support.durable import disk_full_explained

_CHECKSUM_BYTES = 8


class CheckedRows:
    """The rows of a file, which is made when the first one is written.

    Parameters
    ----------
    path
        The file, there or not.
    size
        Bytes of a row, without its checksum.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._file: int | None = None
        self._opening = threading.Lock()

    @property
    def row_bytes(self) -> int:
        """Return how much of the disk a row takes."""
        return self._size + _CHECKSUM_BYTES

    @property
    def taken_bytes(self) -> int:
        """Return how much of the disk the rows that are there take."""
        return self._path.stat().st_blocks * 512 if self._path.is_file() else 0

    def read(self, place: int) -> bytes | None:
        """Return a row; None if it is not there. Several threads call it at once."""
        file = self._opened(os.O_RDWR)
        if file is None:
            return None
        content = os.pread(file, self.row_bytes, place * self.row_bytes)
        row, checksum = content[: self._size], content[self._size :]
        is_whole = len(content) == self.row_bytes and _checksum(row, place) == checksum
        return row if is_whole else None

    def write(self, place: int, row: bytes) -> None:
        """Write a row.

        Raises
        ------
        DiskFullError
            If there is no room for it.
        """
        with disk_full_explained(self._path):
            file = self._opened(os.O_RDWR | os.O_CREAT)
            assert file is not None
            content, start = memoryview(row + _checksum(row, place)), place * self.row_bytes
            while content:
                written = os.pwrite(file, content, start)
                content, start = content[written:], start + written

    def _opened(self, flags: int) -> int | None:
        """Return the open file; None if it is not there and not to be made."""
        with self._opening:
            if self._file is None:
                if flags & os.O_CREAT:
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                elif not self._path.is_file():
                    return None
                self._file = os.open(self._path, flags, 0o666)
            return self._file

    def __del__(self) -> None:
        if self.__dict__.get("_file") is not None:
            os.close(self.__dict__["_file"])


def _checksum(row: bytes, place: int) -> bytes:
    return xxhash.xxh3_64_digest(row, seed=place)
