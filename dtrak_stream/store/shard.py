"""One shard: rows of features in one HDF5 file, written whole or not at all.

It is read in `stored_shard`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.support.durable import write_bytes

PAGE = 4096
_LARGEST_EXPONENT = 15  # the largest entry of a stored row is at most 2**15
_LARGEST_BYTE = 127
DATASETS = ("features", "scale", "sample_id", "norm")
OPTIONAL = ("residual",)

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class ShardRows:
    """The contents of a shard.

    Attributes
    ----------
    features
        (rows, k) float16, float32 or int8. Row i stands for features[i] * scale[i].
    scale
        (rows,) float32, but for int8 a power of two; 0 marks a sample without a feature:
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
        arrays = {name: getattr(self, name) for name in (*DATASETS, *OPTIONAL)}
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
        add_arrays(digest, self.datasets())
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
    every entry down to 2**-29 of the largest. With `int8`, the largest entry of each row becomes
    127 or -127, and every entry is off by half of a 127th of the largest at most.

    Parameters
    ----------
    features
        (rows, k) float32; NaN rows stand for samples without a feature.
    sample_ids
        Ids of the rows.
    dtype
        `float16`, `float32` or `int8`.
    residual
        (rows,) float32, or None in a store without residuals. A row whose residual is NaN or inf
        is quarantined too.
    """
    length = np.linalg.norm(features.astype(np.float64), axis=1)  # (rows, k) -> (rows,)
    usable = length <= np.finfo(np.float32).max  # False for NaN and inf too
    if residual is not None:
        usable &= np.isfinite(residual)
    clean = np.where(usable[:, None], features, np.float32(0))
    scale = _row_scales(clean, dtype)
    stored = clean / scale[:, None]
    if dtype == "int8":
        np.rint(stored, out=stored)
    return ShardRows(
        features=stored.astype(dtype),
        scale=np.where(usable, scale, np.float32(0)),
        sample_id=np.array([name.encode() for name in sample_ids], dtype=np.bytes_),
        norm=np.where(usable, length, 0).astype(np.float32),
        residual=None if residual is None else np.where(usable, residual, np.float32(0)),
    )


def _row_scales(features: FloatArray, dtype: str) -> FloatArray:
    """Return what each row is divided by before it is stored; 1 for a row of zeros."""
    if dtype == "float32":
        return np.ones(len(features), np.float32)
    largest = np.abs(features).max(axis=1, initial=0.0)
    # a row of subnormal floats would ask for a scale that is itself no normal float
    if dtype == "int8":
        scale = np.maximum(largest / np.float32(_LARGEST_BYTE), np.ldexp(np.float32(1), -125))
    else:
        _, exponent = np.frexp(largest)
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


def heading_of(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return what stands before the bytes of an array in the checksum of a shard."""
    return f"{name}|{dtype.str}|{shape}|".encode()


def add_arrays(digest: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Take whole arrays into the checksum of a shard."""
    for name, values in arrays.items():
        array = np.ascontiguousarray(values)
        digest.update(heading_of(name, array.dtype, array.shape))
        digest.update(array.data.cast("B"))


def corrupt_shard(path: Path, what: str) -> CorruptFileError:
    """Return the refusal of a shard that is not what it was when it was written."""
    return CorruptFileError(
        what,
        where=path,
        remedy="run the same command with --redo-corrupt to make this shard again",
    )
