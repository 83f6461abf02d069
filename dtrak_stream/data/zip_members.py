"""Some members of a zip archive, read when they are asked for."""

from __future__ import annotations

import weakref
import zipfile
import zlib
from collections.abc import Sequence
from lzma import LZMAError
from pathlib import Path, PurePosixPath

import numpy as np

from dtrak_stream.data.name_block import NameBlock
from dtrak_stream.data.source import brief, open_regular, unreadable
from dtrak_stream.errors import BadImageError, InputError

_MEMBER = np.dtype(
    [
        *(("header_offset", "u8"), ("compress_size", "u8"), ("file_size", "u8")),
        *(("CRC", "u4"), ("compress_type", "u2"), ("flag_bits", "u2")),
    ]
)
"""What it takes to read a member: the attributes of `zipfile.ZipInfo` of these names."""
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_ENCRYPTED = 1
_OF_WINDOWS = (0, 10, 14)  # FAT, NTFS and VFAT, as the format numbers file systems
_MOST_BYTES = 2**30
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, LZMAError, EOFError, NotImplementedError, RuntimeError),
    UnicodeDecodeError,  # the name before the member is another than in the directory
)


class ZipMembers:
    """Members in an order of their own; their names and 32 bytes are kept of each.

    Parameters
    ----------
    archive
        The archive, which may stay open for as long as this is used.
    members
        Those that are meant.

    Attributes
    ----------
    names
        Their paths in the archive.

    Raises
    ------
    zipfile.BadZipFile
        If its directory tells of a member that lies nowhere.
    """

    def __init__(self, archive: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo]) -> None:
        self._archive = archive
        self.names = NameBlock()
        self._numbers = np.empty(len(members), _MEMBER)
        for place, member in enumerate(members):
            self.names.add(member.orig_filename.encode())
            facts = tuple(getattr(member, name) for name in _MEMBER.names or ())
            if min(facts) < 0:  # where members lie is told from the end of the archive
                raise zipfile.BadZipFile("a member lies before the beginning of the archive")
            self._numbers[place] = facts

    def __len__(self) -> int:
        return len(self.names)

    def listed(self, start: int, stop: int) -> list[str]:
        """Return the paths of members `[start, stop)`."""
        return [self.names[index] for index in range(start, stop)]

    def content(self, index: int, most: int = _MOST_BYTES) -> bytes:
        """Return the bytes of a member; several threads may ask at once, which zipfile allows.

        Raises
        ------
        BadImageError
            If it is damaged, or longer than `most` bytes.
        OSError
            If the system would not read the archive.
        """
        member = zipfile.ZipInfo(self.names[index])
        for attribute in _MEMBER.names or ():
            setattr(member, attribute, int(self._numbers[attribute][index]))
        if member.file_size > most:
            raise BadImageError(f"is {member.file_size:,} bytes long, which is too much for it")
        try:
            with self._archive.open(member) as file:
                return file.read()
        except _DAMAGED as error:
            raise BadImageError(f"cannot be unpacked ({brief(error)})") from error


def open_archive(path: Path) -> zipfile.ZipFile:
    """Open an archive, whose file is closed when nothing refers to it any more.

    Raises
    ------
    InputError
        If it cannot be read, is no zip archive, or is cut off.
    """
    try:
        file = open_regular(path)
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        archive = zipfile.ZipFile(file)
    except (OSError, *_DAMAGED) as error:
        file.close()
        raise unreadable(path, error) from error
    weakref.finalize(archive, file.close)
    return archive


def refuse_unpackable(member: zipfile.ZipInfo, path: Path) -> None:
    """Refuse an archive with a member that cannot be unpacked.

    Raises
    ------
    InputError
        If it is encrypted, packed by a method that is not known, would lie outside of the folder
        that is unpacked to, or has a name whose folders nobody but Windows tells apart.
    """
    name = member.orig_filename
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise InputError(
            f"holds a file that would lie outside of it ({name})",
            where=path,
            remedy="pack it again",
        )
    if "\\" in name and member.create_system in _OF_WINDOWS:
        raise InputError(
            f"holds a file whose name has \\ between its folders ({name})",
            where=path,
            remedy="pack it again by a program that writes /, or unpack it, and name the folder",
        )
    if member.flag_bits & _ENCRYPTED:
        raise InputError(
            f"is encrypted ({name})", where=path, remedy="unpack it, and name the folder"
        )
    if member.compress_type not in _METHODS:
        raise InputError(
            f"{name} is packed by method {member.compress_type}, which cannot be unpacked",
            where=path,
            remedy="unpack it by the program that made it, and name the folder",
        )
