"""Arrays in npy, npz and HDF5 files, opened without reading them."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

import h5py
import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from dtrak_stream.data.arrays import ArraySource
from dtrak_stream.data.columns import ArrayForms, ArraysBeside
from dtrak_stream.data.places import SourceRequest
from dtrak_stream.data.source import open_regular, unreadable
from dtrak_stream.errors import DiskFullError, InputError
from dtrak_stream.support.hdf5_members import refuse_reaching_out

_HDF5_CHUNK_CACHE_BYTES = 64 * 2**20  # rows share a chunk, which must not be unpacked for each
# what NumPy meets headers that are none with: it takes them for Python
_NO_HEADER = (ValueError, KeyError, TypeError, SyntaxError, RecursionError, tokenize.TokenError)
_COPY_BYTES = 2**20
_LOCAL_HEADER = struct.Struct("<26xHH")
_HEADER_READERS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}
_UNREADABLE_ZIP = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError),
    UnicodeDecodeError,  # the name before the member is another than in the directory
)


def open_npy(request: SourceRequest) -> ArraySource:
    """Memory-map an npy file."""
    path = request.place.path
    try:
        with open_regular(path) as file:
            rows = _map_npy(file, 0, path.stat().st_size, str(path))
    except OSError as error:
        raise unreadable(path, error) from error
    return ArraySource(rows, where=str(path), float_range=request.options.float_range)


def open_npz(request: SourceRequest) -> ArraySource:
    """Memory-map the images of one member of an npz archive; see `map_npz`."""
    path = request.place.path
    rows, key = map_npz(path, request.place.key)
    beside = ArraysBeside(lambda: _npz_forms(path), lambda name: map_npz(path, name)[0])
    return ArraySource(
        rows,
        where=f"{path}:{key}",
        key=key,
        float_range=request.options.float_range,
        beside=beside,
    )


def map_npz(path: Path, key: str | None) -> tuple[NDArray[Any], str]:
    """Memory-map one member of an npz archive; return it and its key.

    A stored member is mapped where it lies. A compressed one is unpacked once into an unnamed
    temporary file (in `TMPDIR`, as large as the array), so that memory stays bounded. Either
    way the archive's checksum of the member is verified.

    Returns
    -------
    array, key
        The array, read-only, and the name of the member.

    Raises
    ------
    InputError
        If the archive cannot be read or has no such member.
    DiskFullError
        If there is no room to unpack the member.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            key = _chosen_key(key, members, path)
            return _map_member(file, archive, archive.getinfo(members[key]), f"{path}:{key}"), key
    except (OSError, *_UNREADABLE_ZIP) as error:
        raise unreadable(path, error) from error


def open_hdf5(request: SourceRequest) -> ArraySource:
    """Open one data set of an HDF5 file; the file stays open as long as the source lives.

    h5py lets one thread at a time into the library.
    """
    path = request.place.path
    rows, key = map_hdf5(path, request.place.key)
    return ArraySource(
        rows,
        where=f"{path}:{key}",
        key=key,
        outside=_lies_elsewhere(rows),
        float_range=request.options.float_range,
        beside=ArraysBeside(
            lambda: _hdf5_forms(rows.file), lambda name: _own(rows.file, name, path)
        ),
    )


def map_hdf5(path: Path, key: str | None) -> tuple[Any, str]:
    """Open one data set of an HDF5 file; return it, which keeps the file open, and its key.

    Raises
    ------
    InputError
        If the file cannot be read or has no such data set, or shows data from outside its folder.
    """
    try:
        file = h5py.File(path, "r", rdcc_nbytes=_HDF5_CHUNK_CACHE_BYTES)
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        key = _chosen_key(key, _hdf5_keys(file), path)
        return _own(file, key, path), key
    except (OSError, KeyError, RuntimeError) as error:
        file.close()
        raise unreadable(path, error) from error
    except BaseException:
        file.close()
        raise


def _chosen_key(key: str | None, present: Iterable[str], path: Path) -> str:
    keys = sorted(present)
    if key is None and len(keys) == 1:
        return keys[0]
    if key in keys:
        return key
    there = f"it has {', '.join(keys) or 'none'}"
    raise InputError(
        f"no array {key!r}; {there}" if key else f"which array? {there}",
        where=path,
        remedy=f"name one of them: {path}:{keys[0] if keys else 'KEY'}",
    )


def _npz_forms(path: Path) -> ArrayForms:
    """Return the form of each member that is an array of plain numbers or texts."""
    forms: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with contextlib.suppress(InputError, *_UNREADABLE_ZIP), archive.open(name) as member:
                shape, _, dtype = _npy_header(member, 0, name)
                forms[name.removesuffix(".npy")] = shape, dtype
    return forms


def _own(file: h5py.File, key: str, path: Path) -> h5py.Dataset:
    refuse_reaching_out(file[key], path)
    return file[key]


def _hdf5_forms(file: h5py.File) -> ArrayForms:
    return {key: (file[key].shape, file[key].dtype) for key in _hdf5_keys(file)}


def _hdf5_keys(file: h5py.File) -> list[str]:
    keys: list[str | bytes] = []  # bytes is a name that is no text
    file.visititems(lambda name, item: keys.append(name) if _is_dataset(item) else None)
    return [key for key in keys if isinstance(key, str)]


def _lies_elsewhere(rows: h5py.Dataset) -> bool:
    """Return whether a data set is a view of others, or its numbers are in a file of their own."""
    return bool(rows.is_virtual or rows.external)


def _is_dataset(item: object) -> bool:
    return isinstance(item, h5py.Dataset) and item.shape is not None


def _map_member(
    file: IO[bytes], archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str
) -> NDArray[Any]:
    if member.compress_type == zipfile.ZIP_STORED:
        with Path(os.devnull).open("wb") as nowhere:
            _unpack(archive, member, nowhere)
        return _map_npy(file, _stored_at(file, member), member.file_size, where)
    with tempfile.TemporaryFile(prefix="dtrak-stream-") as unpacked:
        with no_room_explained(member.file_size, where):
            _unpack(archive, member, unpacked)
            unpacked.flush()
        return _map_npy(unpacked, 0, member.file_size, where)


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: IO[bytes]) -> None:
    # Reading to the end is what makes zipfile compare the checksum.
    with archive.open(member) as packed:
        shutil.copyfileobj(packed, target, _COPY_BYTES)


def _stored_at(file: IO[bytes], member: zipfile.ZipInfo) -> int:
    """Return where in the archive the bytes of an uncompressed member begin."""
    file.seek(member.header_offset)
    name_bytes, extra_bytes = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    return member.header_offset + _LOCAL_HEADER.size + int(name_bytes) + int(extra_bytes)


@contextlib.contextmanager
def no_room_explained(size: int, where: object) -> Iterator[None]:
    """Say, where a disk is full, what was to be unpacked there; raises `DiskFullError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(
            f"no room in {tempfile.gettempdir()} to unpack it ({size} bytes)",
            where=where,
            remedy="set TMPDIR to a larger disk, or save it unpacked",
        ) from error


def _map_npy(file: IO[bytes], start: int, size: int, where: str) -> NDArray[Any]:
    """Map the array whose npy form takes up bytes [start, start + size) of `file`."""
    shape, column_major, dtype = _npy_header(file, start, where)
    needed = file.tell() - start + math.prod(shape) * dtype.itemsize
    if needed > size:
        raise InputError(
            f"is truncated ({size} bytes, its header promises {needed})",
            where=where,
            remedy="fetch or write it again",
        )
    if 0 in shape:
        return np.empty(shape, dtype)
    order: Literal["C", "F"] = "F" if column_major else "C"
    return np.memmap(file, dtype, "r", offset=file.tell(), shape=shape, order=order)


def _npy_header(
    file: IO[bytes], start: int, where: str
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    file.seek(start)
    try:
        shape, column_major, dtype = _HEADER_READERS[npy_format.read_magic(file)](file)
    except _NO_HEADER as error:
        raise InputError(
            "is not a NumPy array, or is truncated",
            where=where,
            remedy="write it with numpy.save or numpy.savez",
        ) from error
    if dtype.hasobject:
        raise InputError(
            "holds Python objects, which are never unpickled here",
            where=where,
            remedy="save a plain array of uint8 or float",
        )
    return shape, column_major, dtype
