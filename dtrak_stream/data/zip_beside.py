"""What lies beside the images of a zip archive: their folders, texts, JSON and metadata files."""

from __future__ import annotations

import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.array_files import no_room_explained
from dtrak_stream.data.columns import FOLDER_COLUMN, Column, folders_of
from dtrak_stream.data.folder_beside import stem_of
from dtrak_stream.data.metadata_files import MetadataFiles
from dtrak_stream.data.sidecars import LARGEST_SIDECAR, Sidecars
from dtrak_stream.data.source import unreadable
from dtrak_stream.data.zip_members import ZipMembers
from dtrak_stream.errors import BadImageError, InputError
from dtrak_stream.support.name_index import NameIndex
from dtrak_stream.support.names import ListedNames

_LARGEST_METADATA = 2**34
_NONE = -1


class _ZipFiles:
    """The sidecar files in an archive; of each image four bytes are kept for an ending.

    Parameters
    ----------
    path
        The archive.
    archive
        The same, open.
    names
        The images.
    members
        The files by ending, and by what stands before that in their names.
    """

    def __init__(
        self,
        path: Path,
        archive: zipfile.ZipFile,
        names: ListedNames,
        members: Mapping[str, Mapping[str, zipfile.ZipInfo]],
    ) -> None:
        self._path = path
        stems = [stem_of(name) for name in names.listed(0, len(names))] if members else []
        self._members: dict[str, ZipMembers] = {}
        self._numbers: dict[str, NDArray[np.int32]] = {}
        for suffix, those in members.items():
            of_images = list(dict.fromkeys(stem for stem in stems if stem in those))
            if of_images:
                self._members[suffix] = ZipMembers(archive, [those[stem] for stem in of_images])
                places = {stem: number for number, stem in enumerate(of_images)}
                numbers = [places.get(stem, _NONE) for stem in stems]
                self._numbers[suffix] = np.array(numbers, np.int32)

    def suffixes(self) -> frozenset[str]:
        return frozenset(self._members)

    def first(self, suffix: str) -> int:
        return int(np.argmax(self._numbers[suffix] != _NONE))

    def where(self, suffix: str, row: int) -> str:
        return f"{self._path}, {self._members[suffix].names[self._numbers[suffix][row]]}"

    def contents(self, suffix: str, start: int, stop: int) -> list[bytes | None]:
        rows = zip(range(start, stop), self._numbers[suffix][start:stop].tolist(), strict=True)
        return [self._content(suffix, row, number) for row, number in rows]

    def _content(self, suffix: str, row: int, number: int) -> bytes | None:
        if number == _NONE:
            return None
        try:
            return self._members[suffix].content(number, LARGEST_SIDECAR)
        except BadImageError as error:
            where = self.where(suffix, row)
            raise InputError(error.reason, where=where, remedy="pack it again") from error
        except OSError as error:
            raise unreadable(self._path, error) from error


class ZipBeside:
    """The columns of an archive of images; they are those of the folder that was packed.

    Parameters
    ----------
    path
        The archive.
    archive
        The same, open.
    names
        The images.
    sidecars
        The files beside images by ending, and by what stands before that in their names.
    metadata
        The metadata files.
    others
        The paths of all other members.
    """

    def __init__(
        self,
        path: Path,
        archive: zipfile.ZipFile,
        names: ListedNames,
        sidecars: Mapping[str, Mapping[str, zipfile.ZipInfo]],
        metadata: Sequence[zipfile.ZipInfo],
        others: NameIndex,
    ) -> None:
        self._path = path
        self._archive = archive
        self._names = names
        self._metadata_members = metadata
        self._others = others
        self._sidecars = Sidecars(_ZipFiles(path, archive, names, sidecars))

    def columns(self) -> dict[str, Column]:
        """Return folders, what files beside images hold, and the columns of metadata files."""
        found = {FOLDER_COLUMN: Column("name", "folders")} | self._sidecars.columns()
        return found | ({} if self._metadata is None else self._metadata.columns())

    def column(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return what lies beside rows [start, stop); None where there is nothing."""
        if self._sidecars.has(name):
            return self._sidecars.column(name, start, stop)
        if self._metadata is not None and name in self._metadata.columns():
            return self._metadata.values(name, start, stop)
        if name != FOLDER_COLUMN:
            raise InputError(
                f"there is no such column; it has {', '.join(self.columns())}",
                where=f"column {name}",
                remedy="name one of them",
            )
        return folders_of(name, self._names.listed(start, stop))

    @cached_property
    def _metadata(self) -> MetadataFiles | None:
        """Return the rows of the metadata files, which lie unpacked in a temporary folder."""
        if not self._metadata_members:
            return None
        folder = Path(tempfile.mkdtemp(prefix="dtrak-stream-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        packed = ZipMembers(self._archive, self._metadata_members)
        for number in range(len(packed)):
            self._unpack(packed, number, folder)
        files = packed.listed(0, len(packed))
        return MetadataFiles(folder, files, self._names, is_there=self._is_there)

    def _is_there(self, name: str) -> bool:
        return int(self._others.places([name.encode()], 1)[0]) >= 0

    def _unpack(self, packed: ZipMembers, number: int, folder: Path) -> None:
        name = packed.names[number]
        target = folder / name
        try:
            content = packed.content(number, _LARGEST_METADATA)
            with no_room_explained(len(content), f"{self._path}, {name}"):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        except BadImageError as error:
            raise InputError(
                error.reason, where=f"{self._path}, {name}", remedy="pack it again"
            ) from error
