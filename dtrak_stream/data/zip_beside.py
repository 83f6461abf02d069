"""What lies beside the images of a zip archive: their folders, .txt files and metadata files."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dtrak_stream.data.array_files import no_room_explained
from dtrak_stream.data.columns import FOLDER_COLUMN, Column, folders_of
from dtrak_stream.data.folder_beside import TEXT_COLUMN
from dtrak_stream.data.metadata_files import MetadataFiles
from dtrak_stream.data.source import unreadable
from dtrak_stream.data.zip_members import ZipMembers
from dtrak_stream.errors import BadImageError, InputError
from dtrak_stream.support.name_index import NameIndex
from dtrak_stream.support.names import ListedNames

_LARGEST_TEXT = 2**20
_LARGEST_METADATA = 2**34
_NONE = -1


class ZipBeside:
    """The columns of an archive of images; they are those of the folder that was packed.

    Of each image four bytes are kept, where its text is.

    Parameters
    ----------
    path
        The archive.
    archive
        The same, open.
    names
        The images.
    texts
        The .txt files by what stands before that ending in their names.
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
        texts: Mapping[str, zipfile.ZipInfo],
        metadata: Sequence[zipfile.ZipInfo],
        others: NameIndex,
    ) -> None:
        self._path = path
        self._archive = archive
        self._names = names
        self._metadata_members = metadata
        self._others = others
        stems = [_stem(name) for name in names.listed(0, len(names))] if texts else []
        of_images = [stem for stem in stems if stem in texts]
        numbers = {stem: number for number, stem in enumerate(of_images)}
        self._texts = ZipMembers(archive, [texts[stem] for stem in of_images])
        self._text_of = np.array([numbers.get(stem, _NONE) for stem in stems], np.int32)

    def columns(self) -> dict[str, Column]:
        """Return folders, .txt files if an image has one, and the columns of metadata files."""
        found = {FOLDER_COLUMN: Column("name", "folders")}
        if len(self._texts):
            found[TEXT_COLUMN] = Column("text", "sidecar .txt files")
        return found | ({} if self._metadata is None else self._metadata.columns())

    def column(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return what lies beside rows [start, stop); None where there is nothing."""
        if name == TEXT_COLUMN and len(self._texts):
            return [self._text(int(number)) for number in self._text_of[start:stop]]
        if self._metadata is not None and name in self._metadata.columns():
            return self._metadata.values(name, start, stop)
        if name != FOLDER_COLUMN:
            raise InputError(
                f"there is no such column; it has {', '.join(self.columns())}",
                where=f"column {name}",
                remedy="name one of them",
            )
        return folders_of(name, self._names.listed(start, stop))

    def _text(self, number: int) -> str | None:
        if number == _NONE:
            return None
        where = f"{self._path}, {self._texts.names[number]}"
        try:
            return self._texts.content(number, _LARGEST_TEXT).decode("utf-8-sig").strip()
        except (BadImageError, UnicodeDecodeError) as error:
            problem = error.reason if isinstance(error, BadImageError) else "is not UTF-8"
            raise InputError(problem, where=where, remedy="pack it again") from error
        except OSError as error:
            raise unreadable(self._path, error) from error

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


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122
