"""Whether a result can be written where the user wants it, found out before it is computed.

Nothing that is there is replaced but what the same command wrote for the same job. A file that
can say so itself (an attribute, a record inside) is a `FileKind`; of the others, `own_files` keeps
a record beside them; a folder has a record that is written first.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.errors import DiskFullError, InputError, first_few
from dtrak_stream.support.claims import claim_of
from dtrak_stream.support.durable import is_partial_of, target_of
from dtrak_stream.support.memory import format_size
from dtrak_stream.support.obstacles import refuse_unavailable

_HDF5 = b"\x89HDF\r\n\x1a\n"
_BEGINNINGS = {
    b"\x93NUMPY": "a NumPy array",
    b"PK\x03\x04": "a zip archive, such as an npz",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PAR1": "a parquet file",
}
_LOOKED_AT = 4096  # bytes
_NAMED_AT_MOST = 4


@dataclass(frozen=True)
class FileKind:
    """Files that one command writes, and how it knows them again.

    Attributes
    ----------
    name
        What they are, such as `a Gram matrix`.
    command
        Which command writes them.
    knows
        Whether a regular file is one of them.
    """

    name: str
    command: str
    knows: Callable[[Path], bool]

    def refuse_other(self, path: Path, *, flag: str, kept: bool = False) -> bool:
        """Refuse a file that is there and is none of this kind, or could not be written.

        Parameters
        ----------
        path
            Where a file of this kind is to be written; a link stands for what it leads to.
        flag
            What the user gave it as.
        kept
            Whether one that is there is not written again: it may lie where nobody may write.

        Returns
        -------
        bool
            Whether a file of this kind is there.

        Raises
        ------
        InputError
            Naming what is there instead.
        UnavailableError
            If the system keeps what is there from being looked at.
        """
        there = target_of(path)
        if kept and there.is_file():
            require_no_obstacle(path, flag=flag)
        else:
            require_file(path, flag=flag)
        if not there.exists():
            return False
        if not self.knows(there):
            raise InputError(
                f"is {described(there)}, not {self.name} that {self.command} wrote for this job",
                where=path,
                remedy=f"it is left as it is: move it away, or give another place as {flag}",
            )
        return True


def require_folder(path: Path, *, flag: str) -> None:
    """Refuse a folder that files could not be written into; it need not be there, nor is made.

    Raises
    ------
    InputError
        If a file is in the way, or the place is not to be written to.
    """
    _require_folder(path, given=path, flag=flag)


def require_no_file_above(path: Path, *, flag: str) -> None:
    """Refuse a folder that can be none on any account: a file stands there, or before it.

    Raises
    ------
    InputError
        Naming it.
    """
    _nearest_folder(path, given=path, flag=flag)


def _nearest_folder(folder: Path, *, given: Path, flag: str) -> Path:
    """Return what is there of a folder, asked for for the sake of `given`: it, or a file in it."""
    there = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
    if not there.is_dir():
        raise InputError(
            "is a file, not a folder"
            if there == given
            else f"cannot be made: {there} is no folder",
            where=f"{flag} {given}",
            remedy=f"give another place as {flag}",
        )
    return there


def _require_folder(folder: Path, *, given: Path, flag: str) -> None:
    there = _nearest_folder(folder, given=given, flag=flag)
    error = _why_not_to_be_written(there)
    if error is not None:
        raise InputError(
            f"{there} cannot be written to ({str(error.strerror).lower()})",
            where=f"{flag} {given}",
            remedy=f"give another place as {flag}, or yourself the right to write there",
        ) from error


def can_be_written(folder: Path) -> bool:
    """Return whether files can be written into a folder that is there."""
    return folder.is_dir() and _why_not_to_be_written(folder) is None


def _why_not_to_be_written(folder: Path) -> OSError | None:
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return error
    return None


def require_file(path: Path, *, flag: str) -> None:
    """Refuse a file that could not be written: something else is in the way.

    Raises
    ------
    InputError
        Naming what is in the way; or as `require_folder`.
    """
    require_no_obstacle(path, flag=flag)
    _require_folder(target_of(path).parent, given=path, flag=flag)


def require_no_obstacle(path: Path, *, flag: str) -> None:
    """Refuse the place of a file where something is that is none.

    Raises
    ------
    InputError
        Naming it.
    """
    there = target_of(path)
    if there.is_dir():
        what, remedy = "is a folder", f"give the name of a file as {flag}"
    elif os.path.lexists(there) and not there.is_file():
        what = "is a link that leads nowhere" if there.is_symlink() else "is no regular file"
        remedy = f"give another place as {flag}"
    else:
        return
    raise InputError(what, where=f"{flag} {path}", remedy=remedy)


def refuse_without_room(
    path: Path, needed: int, *, remedy: str = "free some space, or write to another disk"
) -> None:
    """Refuse to begin what would not fit where it goes.

    Parameters
    ----------
    path
        A file or folder, there or not.
    needed
        Bytes that are still to be written.
    remedy
        What the user can do.

    Raises
    ------
    DiskFullError
        Saying how much is needed, and how much is free.
    """
    place = target_of(path).absolute()
    there = next(each for each in (place, *place.parents) if each.is_dir())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise DiskFullError(
            f"{format_size(needed)} are needed and {format_size(free)} are free",
            where=path,
            remedy=remedy,
        )


def refuse_foreign_folder(
    folder: Path, record: str, *, flag: str, known: Collection[str] = ()
) -> None:
    """Refuse a folder that holds anything, unless a command began it by writing its record.

    Parameters
    ----------
    folder
        Where results go.
    record
        Name of the file that is written first into a folder of this kind.
    flag
        What the user gave the folder as.
    known
        Names that may be there nevertheless.

    Raises
    ------
    InputError
        Naming something that is there; or as `require_folder`.
    """
    require_folder(folder, flag=flag)
    begun = folder / record
    if not folder.exists() or begun.is_file():
        return
    foreign = sorted(
        path.name
        for path in folder.iterdir()
        if path.name not in known and path != claim_of(begun) and not is_partial_of(path, begun)
    )
    if foreign and not begun.is_file():  # another process may have begun it just now
        raise InputError(
            f"holds {foreign[0]}, and no {record}: nothing of this command was begun there",
            where=f"{flag} {folder}",
            remedy=f"give a new or empty folder as {flag}",
        )


def holds_hdf5(*names: str, attributes: Collection[str] = ()) -> Callable[[Path], bool]:
    """Return what tells whether a file is HDF5 with these members and attributes at its root.

    Raises
    ------
    UnavailableError
        What is returned raises it, of a file that is locked or otherwise out of reach.
    """

    def knows(path: Path) -> bool:
        found = _hdf5_names(path)
        return found is not None and found[0].issuperset(names) and found[1].issuperset(attributes)

    return knows


def described(path: Path) -> str:
    """Return what a file seems to be, in a few words."""
    found = _hdf5_names(path)
    if found is not None:
        members = sorted(found[0])
        return f"an HDF5 file of {first_few(members, shown=_NAMED_AT_MOST) or 'nothing'}"
    start = _start_of(path)
    for beginning, name in _BEGINNINGS.items():
        if start.startswith(beginning):
            return name
    if start.startswith(_HDF5):
        return "an HDF5 file that cannot be opened"
    if start.lstrip().lower().startswith(b"<!doctype html"):
        return "a web page"
    if not start:
        return "an empty file"
    return "some other file" if b"\0" in start else "a text file"


def _hdf5_names(path: Path) -> tuple[set[str], set[str]] | None:
    """Return the names of members and attributes of an HDF5 file; None if it is none."""
    if not _start_of(path).startswith(_HDF5):
        return None
    import h5py  # most commands that ask have no such file

    try:
        with h5py.File(path, "r") as file:
            return set(file), set(file.attrs)
    except (OSError, RuntimeError, KeyError) as error:
        refuse_unavailable(path, error)
        return None


def _start_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LOOKED_AT)
    except OSError as error:
        refuse_unavailable(path, error)
        raise
