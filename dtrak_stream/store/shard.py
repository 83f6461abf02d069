"""One shard: rows of features in one HDF5 file, written whole or not at all."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.support.durable import write_bytes
from dtrak_stream.support.obstacles import refuse_unavailable

PAGE = 4096
_LARGEST_EXPONENT = 15  # the largest entry of a stored row is at most 2**15
_DATASETS = ("features", "scale", "sample_id", "norm")
_OPTIONAL = ("residual",)

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class ShardRows:
    """The contents of a shard.

    Attributes
    ----------
    features
        (rows, k) float16 or float32. Row i stands for features[i] * scale[i].
    scale
        (rows,) float32, a power of two; 0 marks a sample without a feature:
        quarantined, its row is zero, or removed.
    sample_id
        (rows,) fixed-length UTF-8.
    norm
        (rows,) float32: Euclidean length of the feature.
    residual
        (rows,) float32: how wrong the model is about the sample; None in stores without it.
    """

    features: NDArray[Any]
    scale: FloatArray
    sample_id: NDArray[np.bytes_]
    norm: FloatArray
    residual: FloatArray | None = None

    def datasets(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by their names in the file."""
        arrays = {name: getattr(self, name) for name in (*_DATASETS, *_OPTIONAL)}
        return {name: array for name, array in arrays.items() if array is not None}

    def dequantised(self, start: int, stop: int) -> FloatArray:
        """Return the features of rows [start, stop): (stop - start, k) float32."""
        features = self.features[start:stop].astype(np.float32)
        features *= self.scale[start:stop, None]
        return features

    def without(self, places: NDArray[np.int64]) -> ShardRows:
        """Return the rows with some of them as those of samples without a feature."""
        if not len(places):
            return self
        scale, norm = self.scale.copy(), self.norm.copy()
        residual = None if self.residual is None else self.residual.copy()
        for array in (scale, norm, residual):
            if array is not None:
                array[places] = 0
        return replace(self, scale=scale, norm=norm, residual=residual)

    def checksum(self, fingerprint: str) -> str:
        """Return the xxh3-128 of the contents and of the run they belong to."""
        digest = xxhash.xxh3_128(fingerprint.encode())
        _add_arrays(digest, self.datasets())
        return digest.hexdigest()


def pack_rows(
    features: FloatArray,
    sample_ids: Sequence[str],
    dtype: str,
    residual: FloatArray | None = None,
) -> ShardRows:
    """Make shard rows of computed features; rows that hold NaN or inf become quarantined ones.

    With `float16`, each row is divided by a power of two that brings its largest entry to at
    most 2**15: the division is exact, and the relative rounding error is at most 2**-11 for
    every entry down to 2**-29 of the largest.

    Parameters
    ----------
    features
        (rows, k) float32; NaN rows stand for samples without a feature.
    sample_ids
        Ids of the rows.
    dtype
        `float16` or `float32`.
    residual
        (rows,) float32, or None in a store without residuals. A row whose residual is NaN or inf
        is quarantined too.
    """
    length = np.linalg.norm(features.astype(np.float64), axis=1)  # (rows, k) -> (rows,)
    usable = length <= np.finfo(np.float32).max  # False for NaN and inf too
    if residual is not None:
        usable &= np.isfinite(residual)
    clean = np.where(usable[:, None], features, np.float32(0))
    scale = _row_scales(clean) if dtype == "float16" else np.ones(len(clean), np.float32)
    return ShardRows(
        features=(clean / scale[:, None]).astype(dtype),
        scale=np.where(usable, scale, np.float32(0)),
        sample_id=np.array([name.encode() for name in sample_ids], dtype=np.bytes_),
        norm=np.where(usable, length, 0).astype(np.float32),
        residual=None if residual is None else np.where(usable, residual, np.float32(0)),
    )


def _row_scales(features: FloatArray) -> FloatArray:
    largest = np.abs(features).max(axis=1, initial=0.0)
    _, exponent = np.frexp(largest)
    # a row of subnormal floats would ask for a scale that is itself no normal float
    scale = np.ldexp(np.float32(1), np.maximum(exponent - _LARGEST_EXPONENT, -125))
    return np.where(largest > 0, scale, np.float32(1)).astype(np.float32)


def write_shard(path: Path, rows: ShardRows, fingerprint: str) -> None:
    """Write a shard durably under its final name.

    The HDF5 file is laid out in memory first, so that the only thing that ever touches the disk
    is one plain sequential write, which can fail cleanly.

    Raises
    ------
    DiskFullError
        If there is no room; nothing is left under the final name.
    """
    image = io.BytesIO()
    with file_in_memory(image) as file:
        for name, values in rows.datasets().items():
            file.create_dataset(name, data=values)
        file.attrs["fingerprint"] = fingerprint
        file.attrs["checksum"] = rows.checksum(fingerprint)
    write_bytes(path, image.getbuffer())


def file_in_memory(image: io.BytesIO) -> Any:
    """Begin an HDF5 file in `image`, whole when closed: page-aligned data, checksummed metadata."""
    # H5Fget_file_image of the core driver gives files that cannot be read: HDF5 issue 1915
    return h5py.File(image, "w", libver="latest", alignment_threshold=PAGE, alignment_interval=PAGE)


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
        arrays = stored.arrays(*_DATASETS[1:], *_OPTIONAL)
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
        return {name: self.part(name) for name in names if name in self.places}

    def part(self, name: str, rows: slice = slice(None)) -> NDArray[Any]:
        """Return consecutive rows of one of its arrays.

        Raises
        ------
        OSError, ValueError
            If the file cannot be read, or is too short.
        """
        place = self.places[name]
        wanted = range(place.shape[0])[rows]
        array = np.empty((len(wanted), *place.shape[1:]), place.dtype)
        row_bytes = place.dtype.itemsize * math.prod(place.shape[1:])
        with self.path.open("rb", buffering=0) as file:
            start = place.offset + wanted.start * row_bytes
            read_fully(file.fileno(), array.view(np.uint8).reshape(-1).data, start)
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
        self._digest.update(_heading("features", place.dtype, place.shape))

    def add(self, features: memoryview) -> None:
        """Take in the bytes of the next rows."""
        self._digest.update(features)

    def require(self) -> None:
        """Compare, when all features were added.

        Raises
        ------
        CorruptFileError
            If they are not what they were when the shard was written.
        """
        _add_arrays(self._digest, self._stored.arrays(*_DATASETS[1:], *_OPTIONAL))
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
        places = {name: _place(file, name.encode()) for name in _DATASETS}
        places |= {name: _place(file, name.encode()) for name in _OPTIONAL if name.encode() in file}
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


def _heading(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    return f"{name}|{dtype.str}|{shape}|".encode()


def _add_arrays(digest: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    for name, values in arrays.items():
        array = np.ascontiguousarray(values)
        digest.update(_heading(name, array.dtype, array.shape))
        digest.update(array.data.cast("B"))


def _mismatch(path: Path) -> CorruptFileError:
    return corrupt_shard(path, "contents do not match the checksum")


def corrupt_shard(path: Path, what: str) -> CorruptFileError:
    """Return the refusal of a shard that is not what it was when it was written."""
    return CorruptFileError(
        what,
        where=path,
        remedy="run the same command with --redo-corrupt to make this shard again",
    )
