"""A zip archive of image files."""

from __future__ import annotations

import io
import itertools
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import xxhash

from dtrak_stream.data.columns import Column
from dtrak_stream.data.folder_walk import METADATA_FILES, TEXT_SUFFIX
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
    refuse_out_of_reach,
    unusable,
)
from dtrak_stream.data.zip_beside import ZipBeside
from dtrak_stream.data.zip_members import ZipMembers, open_archive, refuse_unpackable
from dtrak_stream.errors import BadImageError, InputError
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
        How its images are decoded.

    Raises
    ------
    InputError
        If it is no zip archive, or cut off, or something in it is encrypted, packed by a method
        that cannot be unpacked, or an image is there twice, or there are none.
    """

    def __init__(
        self,
        path: Path,
        options: ImageOptions = ImageOptions(),  # noqa: B008 (frozen)
    ) -> None:
        self._path = path
        self._options = options
        archive = open_archive(path)
        found = _Found()
        for member in archive.infolist():
            found.add(member)
        self._passed_over = found.passed_over.lines()
        _refuse(found, path)
        self._members = ZipMembers(archive, found.images)
        names = ListedNames(self._members.listed, range(len(self)))
        self._beside = ZipBeside(path, archive, names, found.texts, found.metadata)
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
        """Return folders, .txt files, and the columns of metadata files; see `ZipBeside`."""
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


@dataclass
class _Found:
    """The members of an archive by what they are.

    Attributes
    ----------
    images
        In natural order once they are refused or not.
    texts
        The .txt files by what stands before that ending in their names.
    metadata
        The metadata files.
    passed_over
        Whatever else is there.
    twice
        Names of texts that are there already.
    """

    images: list[zipfile.ZipInfo] = field(default_factory=list)
    texts: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    metadata: list[zipfile.ZipInfo] = field(default_factory=list)
    passed_over: PassedOver = field(default_factory=PassedOver)
    twice: list[str] = field(default_factory=list)

    def add(self, member: zipfile.ZipInfo) -> None:
        """Take note of a member; folders, and what is hidden or left by macOS, are nothing."""
        path = PurePosixPath(member.orig_filename)
        if member.is_dir() or any(part.startswith((".", "__MACOSX")) for part in path.parts):
            return
        if path.suffix.lower() in IMAGE_SUFFIXES:
            self.images.append(member)
        elif path.name in METADATA_FILES:
            self.metadata.append(member)
        elif path.suffix == TEXT_SUFFIX:
            stem = member.orig_filename.removesuffix(TEXT_SUFFIX)
            self.twice += [member.orig_filename] if stem in self.texts else []
            self.texts[stem] = member
        else:
            self.passed_over.note(path.name)


def _refuse(found: _Found, path: Path) -> None:
    """Bring the images into the order of the folder that was packed; refuse what is no source."""
    if not found.images:
        raise InputError(
            "; ".join(["holds no images", *found.passed_over.lines()]),
            where=path,
            remedy="name an archive that has some",
        )
    for member in (*found.images, *found.texts.values(), *found.metadata):
        refuse_unpackable(member, path)
    found.images.sort(key=_in_natural_order)
    pairs = itertools.pairwise(member.orig_filename for member in found.images)
    twice = [name for before, name in pairs if name == before] + found.twice
    if twice:
        raise InputError(
            f"holds two files called {twice[0]}", where=path, remedy="rename or remove one of them"
        )


def _in_natural_order(member: zipfile.ZipInfo) -> list[bytes]:
    return [*map(sortable, PurePosixPath(member.orig_filename).parts)]
