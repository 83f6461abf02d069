"""IDX files, as MNIST, Fashion-MNIST and EMNIST come: images, and labels in a file beside them.

The format is told at http://yann.lecun.com/exdb/mnist: two zeros, a byte for the type of number, a
byte for the count of axes, the length of each as 4 bytes, and the numbers, all big-endian.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import tempfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.array_files import no_room_explained
from dtrak_stream.data.arrays import ArraySource
from dtrak_stream.data.columns import ArraysBeside
from dtrak_stream.data.places import SourceRequest
from dtrak_stream.data.source import open_regular, unreadable
from dtrak_stream.errors import InputError

LABEL_COLUMN = "label"
"""What the column of the labels is called."""

_NAME = re.compile(
    r"(?P<set>.*)(?P<what>images|labels)(?P<dash>[-._])idx(?P<axes>\d)-ubyte(?P<gz>\.gz)?",
    re.IGNORECASE,
)
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_AXES = 4
_COPY_BYTES = 2**20
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
_AGAIN = "fetch or write it again"


def open_idx(request: SourceRequest) -> ArraySource:
    """Open the images of one file, with the labels beside it; raises as `map_idx`."""
    path = request.place.path
    labels = labels_beside(path)
    mapped = {} if labels is None else {LABEL_COLUMN: map_idx(labels)}
    forms = {name: (array.shape, array.dtype) for name, array in mapped.items()}
    return ArraySource(
        map_idx(path),
        where=str(path),
        float_range=request.options.float_range,
        beside=ArraysBeside(lambda: forms, mapped.__getitem__),
    )


def labels_beside(path: Path) -> Path | None:
    """Return the file of labels that belongs to a file of images, packed or not; None if none."""
    match = _NAME.fullmatch(path.name)
    if match is None or match["what"].lower() != "images":
        return None
    word = "LABELS" if match["what"].isupper() else "labels"
    name = f"{match['set']}{word}{match['dash']}idx1-ubyte"
    found = (path.with_name(name + ending) for ending in (match["gz"] or "", "", ".gz"))
    return next((file for file in found if file.is_file()), None)


def map_idx(path: Path) -> NDArray[Any]:
    """Memory-map the numbers of a file.

    One that is packed by gzip is unpacked once into an unnamed temporary file (in `TMPDIR`), which
    takes as much as its header promises and no more; memory stays bounded.

    Returns
    -------
    numpy.ndarray
        Of the shape and type that the header tells, read-only.

    Raises
    ------
    InputError
        If it cannot be read, is no IDX file, is cut off, or holds more than its header promises.
    DiskFullError
        If there is no room to unpack it.
    """
    try:
        with open_regular(path) as file:
            if file.peek(2)[:2] != b"\x1f\x8b":
                return _mapped(file, path.stat().st_size, path)
            with gzip.open(file) as packed:
                return _unpacked(packed, path)
    except (OSError, *_DAMAGED) as error:
        raise unreadable(path, error) from error


def _unpacked(packed: gzip.GzipFile, path: Path) -> NDArray[Any]:
    _, shape, dtype = _header(packed, path)
    whole = packed.tell() + math.prod(shape) * dtype.itemsize
    packed.seek(0)
    with tempfile.TemporaryFile(prefix="dtrak-stream-") as file:
        with no_room_explained(whole, path):
            size = _copy(packed, file, whole + 1)
            file.flush()
        return _mapped(file, size, path)


def _copy(source: gzip.GzipFile, target: IO[bytes], most: int) -> int:
    """Copy at most so many bytes; return how many there were."""
    copied = 0
    while block := source.read(min(_COPY_BYTES, most - copied)):
        copied += target.write(block)
    return copied


def _mapped(file: IO[bytes], size: int, path: Path) -> NDArray[Any]:
    file.seek(0)
    start, shape, dtype = _header(file, path)
    promised = start + math.prod(shape) * dtype.itemsize
    if size != promised:
        problem = "is truncated" if size < promised else "holds more than its header promises"
        raise InputError(
            f"{problem} (its header promises {promised:,} bytes)", where=path, remedy=_AGAIN
        )
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(file, dtype, "r", offset=start, shape=shape)


def _header(
    file: IO[bytes] | gzip.GzipFile, path: Path
) -> tuple[int, tuple[int, ...], np.dtype[Any]]:
    """Return where the numbers begin, and their shape and type."""
    magic = file.read(4)
    axes = magic[3] if len(magic) == 4 else 0
    lengths = file.read(4 * axes)
    known = magic[:2] == b"\0\0" and magic[2:3] and magic[2] in _TYPES and 1 <= axes <= _MOST_AXES
    if not known or len(lengths) < 4 * axes:
        raise InputError("is no IDX file, or is truncated", where=path, remedy=_AGAIN)
    return 4 + 4 * axes, struct.unpack(f">{axes}I", lengths), np.dtype(_TYPES[magic[2]])
