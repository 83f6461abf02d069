"""HDF5 files written piece by piece, of any size, that fail cleanly when the disk is full.

HDF5 that writes to a disk itself does not survive a write that fails: closing the file fails again,
and the process dies by a signal later. So it is given a file that always says yes: the first error
of the system is kept, what comes after it is dropped, and the error is raised as soon as HDF5 is
not in the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py

from dtrak_stream.support.durable import durable_path


class SteadyFile:
    """A file for HDF5 to write to and read from, whose writes never fail in its sight.

    Parameters
    ----------
    path
        The file, made anew.

    Attributes
    ----------
    error
        The first error of the system; None as long as all is well.
    """

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None
        self._file = path.open("w+b", buffering=0)

    def __enter__(self) -> SteadyFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def raise_error(self) -> None:
        """Raise the error that was kept, if there is one."""
        if self.error is not None:
            raise self.error

    def write(self, content: memoryview) -> int:
        """Write all of it, or drop it once a write has failed."""
        left = memoryview(content).cast("B")
        size = len(left)
        try:
            while left and self.error is None:  # a raw write may be short when the disk fills up
                left = left[self._file.write(left) or 0 :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Make the file so long, unless a write has failed."""
        try:
            if self.error is None:
                return self._file.truncate(size)
        except OSError as error:
            self.error = error
        return self._file.tell() if size is None else size

    def readinto(self, buffer: memoryview) -> int:
        """Read what was written."""
        return self._file.readinto(buffer) or 0

    def read(self, size: int = -1) -> bytes:
        """Read what was written."""
        return self._file.read(size) or b""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()

    def flush(self) -> None:
        """Do nothing: what is written has left the process."""


class NewHdf5:
    """An HDF5 file as it is written.

    Attributes
    ----------
    file
        The `h5py.File`.
    """

    def __init__(self, file: Any, steady: SteadyFile) -> None:
        self.file = file
        self._steady = steady

    def check(self) -> None:
        """Stop here if something could not be written: call it after each larger piece.

        Raises
        ------
        OSError
            What the system said.
        """
        self._steady.raise_error()


@contextmanager
def new_hdf5(final: Path) -> Iterator[NewHdf5]:
    """Hand out an HDF5 file that appears under its name when it is whole, as by `durable_path`.

    Raises
    ------
    DiskFullError
        If there is no room; nothing is left.
    """
    with durable_path(final) as partial, SteadyFile(partial) as steady:
        try:
            with h5py.File(steady, "w", libver="latest") as file:
                yield NewHdf5(file, steady)
        finally:
            steady.raise_error()  # whatever HDF5 made of it
