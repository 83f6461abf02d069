"""Arrays of float32 rows written block by block in formats that other programs read."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy_format

from dtrak_stream.store.shard import FloatArray

Shape = tuple[int, int]
Blocks = Iterable[FloatArray]
HeaderWriter = Callable[[IO[bytes], str, Shape, Mapping[str, str]], None]

_SAFETENSORS_ALIGNMENT = 8


def write_rows(
    path: Path,
    name: str,
    shape: Shape,
    blocks: Blocks,
    about: Mapping[str, str],
    *,
    suffix: str,
) -> None:
    """Write rows in the format that `suffix` names.

    ``.npy``
        NumPy's, which `numpy.load(path, mmap_mode="r")` maps.
    ``.safetensors``
        One tensor called `name`, with `about` as its metadata.
    ``.fvecs``
        FAISS's and texmex's: each row as its length (int32) and its numbers (float32).

    Parameters
    ----------
    path
        The file.
    name
        What the array is called, where the format has names.
    shape
        (rows, columns) of all blocks together.
    blocks
        (n, columns) float32 each.
    about
        What the file tells about itself, where the format has room for it.
    suffix
        One of `ARRAY_SUFFIXES`.
    """
    with path.open("wb") as file:
        _HEADERS[suffix](file, name, shape, about)
        for block in blocks:
            if block.size:  # of a shard without a usable sample nothing is left
                file.write(_encoded(block, suffix))


def file_size(path: Path, shape: Shape) -> int:
    """Return about how many bytes `write_rows` takes."""
    rows, columns = shape
    return 4 * rows * (columns + (path.suffix == ".fvecs"))


def _encoded(block: FloatArray, suffix: str) -> memoryview:
    numbers = np.ascontiguousarray(block, dtype="<f4")
    if suffix != ".fvecs":
        return numbers.data.cast("B")
    rows, columns = numbers.shape
    framed = np.empty((rows, 1 + columns), "<i4")
    framed[:, 0] = columns
    framed[:, 1:] = numbers.view("<i4")
    return framed.data.cast("B")


def _npy_header(file: IO[bytes], name: str, shape: Shape, about: Mapping[str, str]) -> None:  # noqa: ARG001
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    npy_format.write_array_header_1_0(file, header)


def _safetensors_header(file: IO[bytes], name: str, shape: Shape, about: Mapping[str, str]) -> None:
    tensor = {
        "dtype": "F32",
        "shape": list(shape),
        "data_offsets": [0, 4 * shape[0] * shape[1]],
    }
    header = json.dumps({"__metadata__": dict(about), name: tensor}).encode()
    header += b" " * (-len(header) % _SAFETENSORS_ALIGNMENT)
    file.write(struct.pack("<Q", len(header)) + header)


def _fvecs_header(file: IO[bytes], name: str, shape: Shape, about: Mapping[str, str]) -> None:
    """Write nothing: each row of the format stands for itself."""


_HEADERS: dict[str, HeaderWriter] = {
    ".npy": _npy_header,
    ".safetensors": _safetensors_header,
    ".fvecs": _fvecs_header,
}
ARRAY_SUFFIXES = tuple(_HEADERS)
