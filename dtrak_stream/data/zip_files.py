"""A zip archive of image files."""

from __future__ import annotations

import io
import weakref
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import xxhash

from dtrak_stream.data.columns import FOLDER_COLUMN, Column, folders_of
from dtrak_stream.data.name_block import NameBlock
from dtrak_stream.data.natural_order import sortable
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.passed_over import PassedOver
from dtrak_stream.data.pixels import IMAGE_SUFFIXES, decode
from dtrak_stream.data.places import SourceRequest
from dtrak_stream.data.remarks import Remarks
from dtrak_stream.data.source import (
    UNREADABLE,
    Content,
    Pixels,
    RowNumbers,
    brief,
    open_regular,
    refuse_out_of_reach,
    unreadable,
    unusable,
)
from dtrak_stream.errors import BadImageError, InputError

_MEMBER = np.dtype(
    [
        *(("header_offset", "u8"), ("compress_size", "u8"), ("file_size", "u8")),
        *(("CRC", "u4"), ("compress_type", "u2"), ("flag_bits", "u2")),
    ]
)
"""What it takes to read a member: the attributes of `zipfile.ZipInfo` of these names."""
_METHODS = {
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
    zipfile.ZIP_BZIP2,
    zipfile.ZIP_LZMA,
}
_ENCRYPTED = 1
_MOST_BYTES = 2**30
_DAMAGED = (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, NotImplementedError, RuntimeError)


class ZipSource:
    """The image files in one zip archive, in the natural order of their paths.

    A member is unpacked when its image is asked for, in memory. Names and 32 bytes a member are
    kept, about 60 MB for a million; only while the archive is opened, its directory takes more.

    Parameters
    ----------
    path
        The archive.
    options
        How its images are decoded.

    Raises
    ------
    InputError
        If it is no zip archive, or cut off, or an image in it is encrypted, packed by a method
        that cannot be unpacked, or there twice, or there are none.
    """

    def __init__(
        self,
        path: Path,
        options: ImageOptions = ImageOptions(),  # noqa: B008 (frozen)
    ) -> None:
        self._path = path
        self._options = options
        self._archive = _opened(path)
        passed_over = PassedOver()
        wanted = _wanted(self._archive, passed_over)
        self._passed_over = passed_over.lines()
        _refuse(wanted, path, self._passed_over)
        self._names, self._members = _compact(wanted)
        # all that is needed of the directory is in these two
        self._archive.filelist.clear()
        self._archive.NameToInfo.clear()
        self._remarks = Remarks(len(self), self._names.__getitem__)

    def __len__(self) -> int:
        return len(self._names)

    def sample_ids(self, start: int, stop: int) -> list[str]:
        """Return the paths of rows `[start, stop)` in the archive."""
        return [self._names[index] for index in range(start, stop)]

    def pixels(self, index: int) -> Pixels:
        """Decode member `index`, (height, width, channels); see `decode`."""
        try:
            content = io.BytesIO(self._content(index))
        except OSError as error:
            raise unusable(self._path, error) from error
        return decode(content, self._options, self._remarks.about(index))

    def check(self, rows: RowNumbers, *, visible: bool) -> None:
        """Do nothing: each member stands for itself."""

    def layout(self) -> str:
        """Return that these are encoded images with names, as in a folder."""
        return "files"

    def contents(self, start: int, stop: int) -> Iterator[Content]:
        """Yield the name of each member and the hash of its bytes."""
        for index in range(start, stop):
            yield Content(self._hash(index), self._names[index])

    def reaches_outside(self) -> bool:
        """Return False: all images are in the archive."""
        return False

    def remarks(self) -> list[str]:
        """Return what is to be said of the members passed over and the images decoded."""
        return [*self._passed_over, *self._remarks.lines()]

    def columns(self) -> Mapping[str, Column]:
        """Return the folder that each image lies in."""
        return {FOLDER_COLUMN: Column("name", "folders")}

    def column(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return the folders of rows `[start, stop)`, with `/`."""
        return folders_of(name, self.sample_ids(start, stop))

    def _content(self, index: int) -> bytes:
        """Return the bytes of a member; several threads may ask at once, which zipfile allows."""
        member = zipfile.ZipInfo(self._names[index])
        for attribute in _MEMBER.names or ():
            setattr(member, attribute, int(self._members[attribute][index]))
        if member.file_size > _MOST_BYTES:
            raise BadImageError(f"is {member.file_size:,} bytes long, which no image is")
        try:
            with self._archive.open(member) as file:
                return file.read()
        except _DAMAGED as error:
            raise BadImageError(f"cannot be unpacked ({brief(error)})") from error

    def _hash(self, index: int) -> bytes:
        try:
            return xxhash.xxh3_128_digest(self._content(index))
        except BadImageError:
            return UNREADABLE
        except OSError as error:
            refuse_out_of_reach(self._path, error)
            return UNREADABLE


def open_zip(request: SourceRequest) -> ZipSource:
    """Open one archive; raises as `ZipSource`."""
    return ZipSource(request.place.path, request.options)


def _opened(path: Path) -> zipfile.ZipFile:
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


def _wanted(archive: zipfile.ZipFile, passed_over: PassedOver) -> list[zipfile.ZipInfo]:
    """Return the images in natural order, as they would come from the folder that was packed."""
    found = []
    for member in archive.infolist():
        path = PurePosixPath(member.orig_filename)
        if member.is_dir() or any(part.startswith((".", "__MACOSX")) for part in path.parts):
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES:
            found.append(member)
        else:
            passed_over.note(path.name)
    found.sort(key=lambda member: [*map(sortable, PurePosixPath(member.orig_filename).parts)])
    return found


def _refuse(members: Sequence[zipfile.ZipInfo], path: Path, passed_over: Sequence[str]) -> None:
    if not members:
        raise InputError(
            "; ".join(["holds no images", *passed_over]),
            where=path,
            remedy="name an archive that has some",
        )
    before = ""
    for member in members:
        name = member.orig_filename
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
        if name == before:
            raise InputError(
                f"holds two files called {name}", where=path, remedy="rename or remove one of them"
            )
        before = name


def _compact(
    members: Sequence[zipfile.ZipInfo],
) -> tuple[NameBlock, np.ndarray[tuple[int], np.dtype[np.void]]]:
    names = NameBlock()
    numbers = np.empty(len(members), _MEMBER)
    for place, member in enumerate(members):
        names.add(member.orig_filename.encode())
        numbers[place] = tuple(getattr(member, name) for name in _MEMBER.names or ())
    return names, numbers
