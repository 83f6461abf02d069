"""The one way a finished file comes into being: whole under its final name, or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import DiskFullError
from dtrak_stream.support.obstacles import refuse_out_of_reach
from dtrak_stream.support.writers import Writer

PARTIAL_SUFFIX = ".partial"
_FORGOTTEN_SECONDS = 24 * 3600  # so long has no write on another host been standing still
_numbers = itertools.count()
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def durable_path(final: Path) -> Iterator[Path]:
    """Hand out a `.partial` path; on success fsync it and rename it to `final`.

    Its name is unique to this process and call, so that two writers of one file never meet. After
    the block the file is on disk under its final name, and so is the directory entry. If
    the block raises, or the process dies, nothing appears under the final name; what is left of
    the partial file is removed here, or by `remove_partials` at the next start. Where `final` is
    a link, what it leads to is written, and the link stays.

    Raises
    ------
    DiskFullError
        If the file system, a quota or a file-size limit leaves no room for the file.
    UnavailableError
        If the disk, or the server it belongs to, does not take what is written.
    """
    final = target_of(final)
    partial = _partial_of(final)
    try:
        with disk_full_explained(final):
            final.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            _fsync(partial)
            partial.replace(final)
            _fsync(final.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def target_of(path: Path) -> Path:
    """Return what a link leads to, whether or not that is there; other paths as they are."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def write_bytes(final: Path, content: bytes | memoryview) -> None:
    """Write `content` to `final`, durably and atomically."""
    with durable_path(final) as partial, partial.open("wb", buffering=0) as file:
        _write_all(file, content)


def write_npy(final: Path, array: NDArray[Any]) -> None:
    """Write a small array as an npy file, durably and atomically.

    `numpy.save` into a file on disk does not tell why a write failed, and has no errno.
    """
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    write_bytes(final, content.getbuffer())


def show_text(final: Path, text: str, written: Callable[[int], object]) -> None:
    """Write what others watch: whole at any moment, but not on disk for sure when this returns.

    `written` is called with the descriptor of the new file before it has its name.
    """
    final = target_of(final)
    partial = _partial_of(final)
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            written(file.fileno())
        partial.replace(final)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def append_bytes(path: Path, content: bytes) -> None:
    """Add `content` to the end of `path`, on disk before this returns.

    A crash may leave any beginning of it there: readers must be able to tell.

    Raises
    ------
    DiskFullError
        If there is no room for all of it.
    """
    with disk_full_explained(path):
        with path.open("ab", buffering=0) as file:
            _write_all(file, content)
            os.fsync(file.fileno())
        _fsync(path.parent)  # the file may be new


def write_json(final: Path, value: Any) -> None:
    """Write `value` to `final` as sorted, indented JSON, durably and atomically."""
    write_bytes(final, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def remove_partials(folder: Path) -> None:
    """Remove what interrupted writes left behind in `folder`; those that go on are spared."""
    for partial in folder.glob("*" + PARTIAL_SUFFIX):
        _remove_unless_written(partial)


def remove_partials_of(final: Path) -> None:
    """Remove what interrupted writes of `final` left behind; those that go on are spared.

    It looks through the whole folder: for files that are written once in a run.
    """
    final = target_of(final)
    if final.parent.is_dir():
        with os.scandir(final.parent) as entries:
            left = [Path(entry) for entry in entries if is_partial_of(Path(entry), final)]
        for partial in left:
            _remove_unless_written(partial)


def is_partial_of(path: Path, final: Path) -> bool:
    """Return whether `path` is what an interrupted write of `final` left behind."""
    return path.name.startswith(final.name + ".") and path.name.endswith(PARTIAL_SUFFIX)


def _remove_unless_written(partial: Path) -> None:
    if not _goes_on(partial):
        partial.unlink(missing_ok=True)


def _partial_of(final: Path) -> Path:
    writer = Writer.here().spelling
    return final.with_name(f"{final.name}.{next(_numbers)}.{writer}{PARTIAL_SUFFIX}")


def _goes_on(partial: Path) -> bool:
    """Return whether whoever writes this file may still be at it."""
    writer = Writer.spelled(partial.name.removesuffix(PARTIAL_SUFFIX).rpartition(".")[2])
    if writer is None:
        return False
    if writer.is_here:
        return not writer.is_dead
    try:
        return time.time() - partial.stat().st_mtime < _FORGOTTEN_SECONDS
    except FileNotFoundError:
        return False


def _write_all(file: FileIO, content: bytes | memoryview) -> None:
    view = memoryview(content).cast("B")
    while view:  # a raw write may be short when the disk fills up
        view = view[file.write(view) :]


@contextlib.contextmanager
def disk_full_explained(final: Path) -> Iterator[None]:
    """Raise `DiskFullError` of `final` for whatever inside fails for want of room.

    Raises
    ------
    UnavailableError
        If the disk, or the server it belongs to, does not take what is written.
    """
    try:
        yield
    except OSError as error:
        if not _says_no_room(error):
            refuse_out_of_reach(final, error)
            raise
        raise DiskFullError(
            "no room left to write this file",
            where=final,
            remedy="free some space (or raise the quota) and run the same command again; "
            "everything finished so far is kept",
        ) from error


def _says_no_room(error: OSError) -> bool:
    # HDF5 raises a plain OSError whose text alone carries the errno.
    return error.errno in _NO_ROOM or any(f"errno = {code}," in str(error) for code in _NO_ROOM)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
