"""A shard on disk: found out about, read piece by piece and held against its checksum."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.store.row_set import RowSet
from dtrak_stream.store.shard import (
    DATASETS,
    OPTIONAL,
    ShardRows,
    add_arrays,
    corrupt_shard,
    heading_of,
)
from dtrak_stream.support.obstacles import refuse_unavailable


def read_shard(path: Path, fingerprint: str, *, check: bool = True) -> ShardRows:
    """Map a shard into memory and check it.

    Parameters
    ----------
    path
        The shard.
    fingerprint
        Hash of the run it must belong to.
    check
        Whether to compare the contents with their checksum.

    Returns
    -------
    ShardRows
        `features` is a read-only memory map; the rest is in memory.

    Raises
    ------
    UnavailableError
        If it is locked, or out of reach in another way.
    CorruptFileError
        If the file is truncated, is not a shard, or its checksum does not hold.
    """
    with telling_damage(path):
        stored = _stored_shard(path, fingerprint)
        place = stored.places["features"]
        features = np.memmap(path, place.dtype, "r", place.offset, place.shape)
        arrays = stored.arrays(*DATASETS[1:], *OPTIONAL)
    rows = ShardRows(features, **arrays)
    if check and rows.checksum(fingerprint) != stored.checksum:
        raise _mismatch(path)
    return rows


@dataclass(frozen=True)
class ArrayPlace:
    """Where an array lies in a file, and what it is.

    Attributes
    ----------
    offset
        Its first byte.
    shape, dtype
        What it is, C-contiguous.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class StoredShard:
    """A shard on disk: what there is to know before its arrays are read.

    Attributes
    ----------
    path
        The file.
    places
        Its arrays by the names in `ShardRows`; those that it lacks are absent.
    checksum
        What `ShardRows.checksum` must be.
    """

    path: Path
    places: dict[str, ArrayPlace]
    checksum: str

    def arrays(self, *names: str) -> dict[str, NDArray[Any]]:
        """Return some of its arrays by their names, but for those that it lacks; see `part`."""
        with self.path.open("rb", buffering=0) as file:
            return self.arrays_of(file.fileno(), *names)

    def arrays_of(self, descriptor: int, *names: str) -> dict[str, NDArray[Any]]:
        """Return what `arrays` does, of the file that is open."""
        held = [name for name in names if name in self.places]
        return {name: self._part(descriptor, name, slice(None)) for name in held}

    def part(self, name: str, rows: slice = slice(None)) -> NDArray[Any]:
        """Return consecutive rows of one of its arrays.

        Raises
        ------
        OSError, ValueError
            If the file cannot be read, or is too short.
        """
        with self.path.open("rb", buffering=0) as file:
            return self._part(file.fileno(), name, rows)

    def _part(self, descriptor: int, name: str, rows: slice) -> NDArray[Any]:
        place = self.places[name]
        wanted = range(place.shape[0])[rows]
        array = np.empty((len(wanted), *place.shape[1:]), place.dtype)
        row_bytes = place.dtype.itemsize * math.prod(place.shape[1:])
        start = place.offset + wanted.start * row_bytes
        read_fully(descriptor, array.view(np.uint8).reshape(-1).data, start)
        return array

    def picked(self, name: str, rows: RowSet) -> NDArray[Any]:
        """Return some rows of one of its arrays, in ascending order; raises as `part`."""
        place, done = self.places[name], 0
        array = np.empty((len(rows), *place.shape[1:]), place.dtype)
        row_bytes = place.dtype.itemsize * math.prod(place.shape[1:])
        with self.path.open("rb", buffering=0) as file:
            for first, last in rows.stretches():
                into = array[done : done + last + 1 - first]
                start = place.offset + first * row_bytes
                read_fully(file.fileno(), into.view(np.uint8).reshape(-1).data, start)
                done += len(into)
        return array


class ShardDigest:
    """The checksum of a shard whose features are read piece by piece.

    Parameters
    ----------
    stored
        The shard.
    fingerprint
        Hash of the run it belongs to.
    """

    def __init__(self, stored: StoredShard, fingerprint: str) -> None:
        self._stored, place = stored, stored.places["features"]
        self._digest = xxhash.xxh3_128(fingerprint.encode())
        self._digest.update(heading_of("features", place.dtype, place.shape))

    def add(self, features: memoryview) -> None:
        """Take in the bytes of the next rows."""
        self._digest.update(features)

    def require(self, descriptor: int) -> None:
        """Compare, when all features were added; the file is open.

        Raises
        ------
        CorruptFileError
            If they are not what they were when the shard was written.
        """
        add_arrays(self._digest, self._stored.arrays_of(descriptor, *DATASETS[1:], *OPTIONAL))
        if self._digest.hexdigest() != self._stored.checksum:
            raise _mismatch(self._stored.path)


def open_shard(path: Path, fingerprint: str) -> StoredShard:
    """Look at a shard without reading its features; raises as `read_shard`, but for checksums."""
    with telling_damage(path):
        return _stored_shard(path, fingerprint)


@contextmanager
def telling_damage(path: Path) -> Iterator[None]:
    """Tell errors of reading a shard as `read_shard` does."""
    try:
        yield
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        refuse_unavailable(path, error)
        raise corrupt_shard(path, f"truncated or not a shard ({error})") from error


def read_fully(descriptor: int, into: memoryview, offset: int) -> None:
    """Fill a buffer of bytes from a place in a file.

    Raises
    ------
    ValueError
        If the file ends before.
    """
    while into:
        count = os.preadv(descriptor, [into], offset)
        if not count:
            raise ValueError("the file ends too early")
        into, offset = into[count:], offset + count


def _stored_shard(path: Path, fingerprint: str) -> StoredShard:
    # h5py's own objects for files, data sets and attributes take ten times as long
    file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY)
    try:
        places = {name: _place(file, name.encode()) for name in DATASETS}
        places |= {name: _place(file, name.encode()) for name in OPTIONAL if name.encode() in file}
        checksum, run = _text(file, b"checksum"), _text(file, b"fingerprint")
    finally:
        file.close()
    if run != fingerprint:
        raise corrupt_shard(path, "belongs to another run")
    return StoredShard(path, places, checksum)


def _place(file: Any, name: bytes) -> ArrayPlace:
    dataset = h5py.h5d.open(file, name)
    offset = dataset.get_offset()
    if offset is None:
        raise ValueError(f"{name.decode()} is not stored in one piece")
    return ArrayPlace(offset, dataset.shape, dataset.dtype)


def _text(file: Any, name: bytes) -> str:
    attribute = h5py.h5a.open(file, name)
    text = np.empty((), attribute.dtype)
    attribute.read(text)
    value = text[()]
    return value.decode() if isinstance(value, bytes) else str(value)


def _mismatch(path: Path) -> CorruptFileError:
    return corrupt_shard(path, "contents do not match the checksum")
