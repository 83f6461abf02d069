"""Files `metadata` in a folder of images, as imagefolder of Hugging Face has them.

They end in `.jsonl`, `.csv` or `.parquet`. Each row names an image by its path from the folder that
the file lies in (`file_name`); the other columns are about that image. What is kept of a row is
where it begins.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dtrak_stream.data.columns import Column, ColumnKind, is_path
from dtrak_stream.data.metadata_rows import ROWS_AT_A_TIME, MetadataReader, Placed, Row, reading
from dtrak_stream.data.row_paths import windows_hint
from dtrak_stream.errors import InputError, first_few
from dtrak_stream.support.name_index import NameIndex
from dtrak_stream.support.names import Names, name_at

_FILE_NAME = "file_name"
_NAMED_AT_MOST = 3
_NOT_THERE = -1


class MetadataFiles:
    """The rows of all metadata files of a folder, found by image.

    Parameters
    ----------
    folder
        Where paths are relative to.
    files
        The files, relative to the folder.
    names
        The images, relative to the folder.
    is_there
        Tells of the path of a file that is none of the images whether there is one; by default
        it is looked for in the folder.

    Raises
    ------
    InputError
        If a file cannot be read, has no column `file_name`, names a file that is not there or lies
        outside, or an image has two rows.
    """

    def __init__(
        self,
        folder: Path,
        files: Sequence[str],
        names: Names,
        *,
        is_there: Callable[[str], bool] | None = None,
    ) -> None:
        self._folder = folder
        self._root = posixpath.normpath(folder.absolute().as_posix()).rstrip("/") + "/"
        self._files = files
        self._names = names
        self._file_of = np.zeros(len(names), np.uint32)
        self._offset = np.full(len(names), _NOT_THERE, np.int64)
        self._kinds: dict[str, ColumnKind] = {}
        self._is_there = is_there or (lambda name: (folder / name).exists())
        self._take_note()

    def columns(self) -> dict[str, Column]:
        """Return the columns of all files but that of names."""
        files = self._files[0] if len(self._files) == 1 else f"{len(self._files):,} metadata files"
        return {
            name: Column(kind, f"column {name} of {files}") for name, kind in self._kinds.items()
        }

    def values(self, column: str, start: int, stop: int) -> list[Any]:
        """Return what a column holds for images [start, stop); None for those without."""
        found: list[Any] = [None] * (stop - start)
        for number in np.unique(self._file_of[start:stop]).tolist():
            chosen = self._file_of[start:stop] == number
            chosen &= self._offset[start:stop] != _NOT_THERE
            offsets = self._offset[start:stop][chosen].tolist()
            with reading(self._folder / self._files[number]) as file:
                for place, offset in zip(np.flatnonzero(chosen).tolist(), offsets, strict=True):
                    found[place] = file.row_at(offset).get(column)
        return found

    def _take_note(self) -> None:
        index, missing = NameIndex(self._names), _Missing(self._is_there)
        for number, file in enumerate(self._files):
            with reading(self._folder / file) as reader:
                rows = reader.rows()
                while some := list(islice(rows, ROWS_AT_A_TIME)):
                    self._take_rows(number, some, index, missing)
                    self._note_kinds(reader, some)
        missing.refuse(self._folder, self._files)

    def _take_rows(
        self, number: int, rows: Sequence[Placed], index: NameIndex, missing: _Missing
    ) -> None:
        file = self._files[number]
        targets = [self._target(file, line, row) for line, _, row in rows]
        places = index.places((each.encode() for each in targets), len(rows)).tolist()
        for place, target, (line, offset, _) in zip(places, targets, rows, strict=True):
            if place < 0:
                missing.note(target)
                continue
            if self._offset[place] != _NOT_THERE:
                raise InputError(
                    f"line {line} is about {name_at(self._names, place)}, which has a row already",
                    where=self._folder / file,
                    remedy="leave one row for each image, in one file",
                )
            self._file_of[place], self._offset[place] = number, offset

    def _target(self, file: str, line: int, row: Row) -> str:
        name = row.get(_FILE_NAME)
        if not is_path(name):
            raise InputError(
                f"line {line} has no {_FILE_NAME}",
                where=self._folder / file,
                remedy=f"name the image of each row in {_FILE_NAME}, or rename this file",
            )
        target = posixpath.normpath(posixpath.join(self._root, posixpath.dirname(file), name))
        if not target.startswith(self._root):
            raise InputError(
                f"line {line} names a file outside of {self._folder} ({name})",
                where=self._folder / file,
                remedy="remove it, or write images elsewhere into a list: list:FILE.csv",
            )
        return target.removeprefix(self._root)

    def _note_kinds(self, reader: MetadataReader, rows: Sequence[Placed]) -> None:
        for _, _, row in rows:
            for name, value in row.items():
                if name != _FILE_NAME and value is not None:
                    kind = reader.kind(value)
                    self._kinds[name] = _common(kind, self._kinds.get(name, kind))


def _common(one: ColumnKind, other: ColumnKind) -> ColumnKind:
    """Return what a column is that has values of both kinds."""
    if one == other:
        return one
    return "text" if {one, other} == {"text", "number"} else "other"


@dataclass
class _Missing:
    """Counts the files that rows name and that are not there."""

    is_there: Callable[[str], bool]
    count: int = 0
    names: list[str] = field(default_factory=list)

    def note(self, target: str) -> None:
        if self.is_there(target):
            return  # an image of another split, or no image
        self.count += 1
        if len(self.names) < _NAMED_AT_MOST:
            self.names.append(target)

    def refuse(self, folder: Path, files: Sequence[str]) -> None:
        if self.count:
            raise InputError(
                f"{self.count:,} of the files it names are not there "
                f"({first_few(self.names, count=self.count)})",
                where=", ".join(str(folder / file) for file in files[:2]),
                remedy="put them there, or remove their rows" + windows_hint(self.names),
            )
