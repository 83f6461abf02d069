"""What every image source can do."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

from dtrak_stream.data.columns import Column
from dtrak_stream.errors import BadImageError, InputError
from dtrak_stream.support.obstacles import refuse_unavailable

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]
"""One image, (height, width, channels): uint8, or float32 in [-1, 1]."""

RowNumbers: TypeAlias = range | NDArray[np.int64]
"""Some rows of a source, each once, in any order; a range has no step."""

UNREADABLE = b"unreadable"
"""The picture in `Content` of a sample whose bytes cannot be read."""

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""What the text begins with that stands for a file until Git LFS fetches it."""
A_POINTER, FETCH_LFS = "a pointer of Git LFS and not the file itself", "git lfs pull"

_NO_FILES = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Content(NamedTuple):
    """What stands for one sample when samples are hashed.

    Attributes
    ----------
    picture
        Bytes that equal images have in common and others have not: those of its pixels, or a hash
        of its file; `UNREADABLE` if it cannot be read.
    name
        Its name, where that does not follow from its row.
    """

    picture: bytes
    name: str | None = None

    def encoded(self) -> bytes:
        """Return both as bytes."""
        return self.picture if self.name is None else self.name.encode() + b"\0" + self.picture


class Source(Protocol):
    """Images in a fixed order, each with a name, read one at a time.

    The rows `[start, stop)` that some methods take count in that order.
    """

    def __len__(self) -> int:
        """Return the number of images."""

    def sample_ids(self, start: int, stop: int) -> list[str]:
        """Return the names of rows `[start, stop)`."""

    def pixels(self, index: int) -> Pixels:
        """Return image `index`; raise `BadImageError` if it cannot be used.

        Several threads call it at once. What it reads with and cannot stand that is locked in it.
        """

    def check(self, rows: RowNumbers, *, visible: bool) -> None:
        """Raise `InputError` if some rows break a rule of the whole source."""

    def layout(self) -> str:
        """Return what says, besides the contents, which pixels these are."""

    def contents(self, start: int, stop: int) -> Iterator[Content]:
        """Yield, for each of the rows `[start, stop)`, what changes when the sample does."""

    def reaches_outside(self) -> bool:
        """Return whether something read so far lies in other files than the source names."""

    def remarks(self) -> list[str]:
        """Return what is to be said of the images decoded so far, in a clause each."""

    def columns(self) -> Mapping[str, Column]:
        """Return what lies beside the images, by name; nothing if they are all there is.

        A kind of source takes part in captions, labels and groups by saying its columns here
        and returning them from `column`: captions are looked for among columns of text, labels
        among classes, whole numbers and texts, each by the usual names first (`text`, `caption`,
        `label`, ...). What only names an image, such as the column of paths of a list, is of
        kind `name`. No column is read for this; a first row may be.
        """

    def column(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return what a column holds in rows `[start, stop)`, as it lies there.

        That is a text, its bytes in UTF-8, or a number; of classes it is their name; None is
        nothing. `name` is one of `columns`, or one that only this source understands (such as
        `a.b` for entry b of the structures in a). Where rows lie is kept in a few bytes a row, or
        not at all: the source may have millions.

        Raises
        ------
        InputError
            If there is no such column, or it cannot be read.
        """


class NotAFileError(OSError):
    """There is something under a name that bytes could be waited for for ever, but no file."""

    def __init__(self, kind: str) -> None:
        super().__init__(errno.EINVAL, f"{kind}, not a file")


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file to read its bytes; links are followed, and nothing is waited for.

    Raises
    ------
    NotAFileError
        If it is a named pipe, a socket or a device.
    OSError
        If the system would not open it.
    """
    return open(path, "rb", opener=_regular)


def _regular(path: str, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise NotAFileError(_NO_FILES[stat.S_IFSOCK]) from error
        raise
    kind = _NO_FILES.get(stat.S_IFMT(os.fstat(descriptor).st_mode))
    if kind is not None:
        os.close(descriptor)
        raise NotAFileError(kind)
    return descriptor


def file_hash(path: Path) -> bytes:
    """Return the xxh3-128 of a file's bytes, `UNREADABLE` if they cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, xxhash.xxh3_128).digest()
    except OSError as error:
        refuse_out_of_reach(path, error)
        return UNREADABLE


def stretches(rows: RowNumbers) -> Iterator[tuple[int, int]]:
    """Yield row numbers, in their order, as ranges `[start, stop)` of consecutive ones."""
    if isinstance(rows, range):
        yield rows.start, rows.stop
        return
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    starts, stops = [0, *breaks.tolist()], [*breaks.tolist(), len(rows)]
    for start, stop in zip(starts, stops, strict=True):
        if start < stop:
            yield int(rows[start]), int(rows[stop - 1]) + 1


def unreadable(where: object, error: Exception) -> InputError:
    """Return the refusal of a file or folder that the system, or its reader, would not read."""
    if isinstance(error, FileNotFoundError):
        return InputError("does not exist", where=where, remedy="check the path")
    if isinstance(error, NotADirectoryError):
        return InputError(
            "does not exist: it would lie below something that is no folder",
            where=where,
            remedy="check the path",
        )
    if isinstance(error, PermissionError):
        return InputError(
            "cannot be read (permission denied)",
            where=where,
            remedy="give yourself the right to read it",
        )
    if isinstance(error, IsADirectoryError):
        return InputError("is a folder", where=where, remedy="name a file in it")
    if isinstance(error, NotAFileError):
        return InputError(f"is {brief(error)}", where=where, remedy="write its bytes into a file")
    damaged = not isinstance(error, OSError) or error.errno is None
    refuse_unavailable(where, error)
    return InputError(
        f"cannot be read ({brief(error)})",
        where=where,
        remedy="it may be truncated or corrupt; fetch or write it again"
        if damaged
        else "it may be whole: see to the file system, and try again",
    )


def unusable(where: object, error: OSError) -> BadImageError:
    """Return why one image cannot be used, where that is the image's own fault.

    Raises
    ------
    UnavailableError
        If its disk or server does not answer, or the process has no handle left: the images after
        it would seem bad for no fault of theirs.
    """
    refuse_out_of_reach(where, error)
    return BadImageError(f"cannot be read ({brief(error)})")


def refuse_out_of_reach(where: object, error: OSError) -> None:
    """Raise the refusal of what does not answer; return if one file alone may be to blame.

    Raises
    ------
    UnavailableError
        As `unusable`.
    """
    if not isinstance(error, PermissionError):
        refuse_unavailable(where, error)


def brief(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind if it has none."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
