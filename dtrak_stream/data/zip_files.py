"""A zip archive of image files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import xxhash

from dtrak_stream.data.columns import Column
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.pixels import decode
from dtrak_stream.data.places import SourceRequest
from dtrak_stream.data.remarks import Remarks
from dtrak_stream.data.source import (
    UNREADABLE,
    Content,
    Pixels,
    RowNumbers,
    refuse_out_of_reach,
    unreadable,
    unusable,
)
from dtrak_stream.data.zip_beside import ZipBeside
from dtrak_stream.data.zip_contents import contents_of
from dtrak_stream.data.zip_members import ZipMembers, open_archive
from dtrak_stream.errors import BadImageError
from dtrak_stream.support.name_index import NameIndex
from dtrak_stream.support.names import ListedNames


class ZipSource:
    """The image files in one zip archive, in the natural order of their paths.

    A member is unpacked when its image is asked for, in memory. Names and 32 bytes a member are
    kept, about 60 MB for a million; only while the archive is opened, its directory takes more.

    Parameters
    ----------
    path
        The archive.
    options
        Which split of it is meant, where folders in it tell splits, and how images are decoded.

    Raises
    ------
    InputError
        If it is no zip archive, or cut off, or something in it is encrypted, packed by a method
        that cannot be unpacked, called as if it lay outside, or an image is there twice, or there
        are none, or not that split, or several and none was asked for.
    """

    def __init__(
        self,
        path: Path,
        options: ImageOptions = ImageOptions(),  # noqa: B008 (frozen)
    ) -> None:
        self._path = path
        self._options = options
        archive = open_archive(path)
        found = contents_of(archive, options.split, path)
        self._passed_over = found.passed_over.lines()
        try:
            self._members = ZipMembers(archive, found.images)
        except zipfile.BadZipFile as error:
            raise unreadable(path, error) from error
        names = ListedNames(self._members.listed, range(len(self)))
        metadata, others = [*found.metadata.values()], NameIndex(found.others)
        self._beside = ZipBeside(path, archive, names, found.sidecars, metadata, others)
        # all that is needed of the directory is in these two
        archive.filelist.clear()
        archive.NameToInfo.clear()
        self._remarks = Remarks(len(self), self._members.names.__getitem__)

    def __len__(self) -> int:
        return len(self._members)

    def sample_ids(self, start: int, stop: int) -> list[str]:
        """Return the paths of rows `[start, stop)` in the archive."""
        return self._members.listed(start, stop)

    def pixels(self, index: int) -> Pixels:
        """Decode member `index`, (height, width, channels); see `decode`."""
        try:
            content = io.BytesIO(self._members.content(index))
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
            yield Content(self._hash(index), self._members.names[index])

    def reaches_outside(self) -> bool:
        """Return False: all images are in the archive."""
        return False

    def remarks(self) -> list[str]:
        """Return what is to be said of the members passed over and the images decoded."""
        return [*self._passed_over, *self._remarks.lines()]

    def columns(self) -> Mapping[str, Column]:
        """Return folders, texts, JSON, and the columns of metadata files; see `ZipBeside`."""
        return self._beside.columns()

    def column(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return what lies beside rows `[start, stop)`."""
        return self._beside.column(name, start, stop)

    def _hash(self, index: int) -> bytes:
        try:
            return xxhash.xxh3_128_digest(self._members.content(index))
        except BadImageError:
            return UNREADABLE
        except OSError as error:
            refuse_out_of_reach(self._path, error)
            return UNREADABLE


def open_zip(request: SourceRequest) -> ZipSource:
    """Open one archive; raises as `ZipSource`."""
    return ZipSource(request.place.path, request.options)
