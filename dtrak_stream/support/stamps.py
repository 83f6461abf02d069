"""What files looked like: so that what was once read from them need not be read again.

A file that is written, replaced, renamed or given other rights has another size, modification
time, change time or inode afterwards. The change time is set by the system alone: a copy that
restores the modification time, or an edit that keeps the size, does not escape it.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xxhash

_SPACE = 2**128
_TICK = (
    20_000_000  # ns; a file system notes times by a clock that ticks at least 100 times a second
)
_COARSE_TICK = 2_000_000_000  # unless it notes whole seconds only

_PACKAGE = Path(__file__).parents[1]

Wanted = Callable[[os.DirEntry[str]], bool]


@dataclass(frozen=True)
class Stamp:
    """Names, sizes and times of some files, in a few numbers however many files there are.

    Attributes
    ----------
    files
        Number of files.
    size
        Bytes of all of them.
    newest
        Latest change time, in nanoseconds.
    digest
        Sum modulo 2**128 of a hash for each file, in hexadecimal digits: it depends on every
        file and not on the order they were come upon.
    """

    files: int
    size: int
    newest: int
    digest: str

    @classmethod
    def from_record(cls, record: object) -> Stamp | None:
        """Return the stamp that `record` is of; None if it is no such record."""
        try:
            return cls(**record)  # type: ignore[arg-type]
        except TypeError:
            return None

    def record(self) -> dict[str, Any]:
        """Return it as plain numbers, for a JSON file."""
        return asdict(self)

    def settle(self) -> bool:
        """Wait until whatever is written from now on gives another stamp.

        A write within the same tick of the file system's clock would not show.

        Returns
        -------
        bool
            False if that is not to be waited for: a file was changed in the future.
        """
        tick = _TICK if self.newest % 1_000_000_000 else _COARSE_TICK
        wait = self.newest + tick - time.time_ns()
        if wait > tick:
            return False
        if wait > 0:
            time.sleep(wait / 1e9)
        return True


class Stamping:
    """Adds up a stamp, file by file."""

    def __init__(self) -> None:
        self._files = self._size = self._newest = self._sum = 0

    def text(self, text: str) -> None:
        """Add something that is no file."""
        self._add(f"text|{text}")

    def status(self, name: str, status: os.stat_result) -> None:
        """Add a file of which the system told this."""
        times = f"{status.st_mtime_ns}|{status.st_ctime_ns}"
        self._add(f"file|{status.st_size}|{times}|{status.st_ino}|{name}")
        self._files += 1
        self._size += status.st_size
        self._newest = max(self._newest, status.st_ctime_ns)

    def file(self, path: Path, name: str | None = None) -> None:
        """Add one file under its own path, or another name; raises OSError if it is not there."""
        self.status(str(path) if name is None else name, path.stat())

    def tree(self, folder: Path, wanted: Wanted, prefix: str = "") -> None:
        """Add the wanted files below a folder, links followed.

        Parameters
        ----------
        folder
            Where to look; folders in it are looked into if they are wanted.
        wanted
            Which files and folders count.
        prefix
            What is put before their names.

        Raises
        ------
        OSError
            If a folder cannot be listed, or links back into itself.
        """
        self._tree(folder, wanted, prefix, frozenset())

    def stamped(self, stamp: Stamp) -> None:
        """Add all that another stamp is of, as if it were added here."""
        self._sum = (self._sum + int(stamp.digest, 16)) % _SPACE
        self._files += stamp.files
        self._size += stamp.size
        self._newest = max(self._newest, stamp.newest)

    def stamp(self) -> Stamp:
        """Return the stamp of all that was added."""
        return Stamp(self._files, self._size, self._newest, f"{self._sum:032x}")

    def _tree(
        self, folder: Path, wanted: Wanted, prefix: str, above: frozenset[tuple[int, int]]
    ) -> None:
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            raise OSError(f"{folder} links to a folder it lies in")
        with os.scandir(folder) as listing:
            for entry in listing:
                if not wanted(entry):
                    continue
                if is_folder(entry):
                    inside = f"{prefix}{entry.name}/"
                    self._tree(folder / entry.name, wanted, inside, above | {here})
                else:
                    self.status(prefix + entry.name, _status(entry))

    def _add(self, text: str) -> None:
        line = text.encode("utf-8", "surrogateescape")
        self._sum = (self._sum + xxhash.xxh3_128_intdigest(line)) % _SPACE


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def stamp_package(stamping: Stamping, *endings: str) -> None:
    """Add the files of this package whose names end so; raises OSError as `Stamping.tree`."""

    def wanted(entry: os.DirEntry[str]) -> bool:
        if entry.name.endswith(endings):
            return True
        return not entry.name.startswith(("_", ".")) and is_folder(entry)

    stamping.tree(_PACKAGE, wanted, "package/")


def stamp_files(paths: Iterable[Path]) -> Stamp | None:
    """Return the stamp of some files by their names without folders; None if one is missing."""
    stamping = Stamping()
    try:
        for path in paths:
            stamping.file(path, path.name)
    except OSError:
        return None
    return stamping.stamp()


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
        return entry.stat(follow_symlinks=False)  # a link to nothing, until there is something
