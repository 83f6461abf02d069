"""What lies beside the images of a folder: their folders, .txt files and metadata files."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from dtrak_stream.data.columns import FOLDER_COLUMN, Column
from dtrak_stream.data.folder_walk import METADATA_FILES, TEXT_SUFFIX, FolderWalk
from dtrak_stream.data.metadata_files import MetadataFiles
from dtrak_stream.data.source import open_regular, unreadable
from dtrak_stream.errors import InputError
from dtrak_stream.support.names import ListedNames

TEXT_COLUMN = TEXT_SUFFIX
"""The text in 00001.txt beside 00001.jpg."""
_LARGEST_TEXT = 2**20


class FolderBeside:
    """The columns of a folder of images.

    Parameters
    ----------
    folder
        Where names are relative to.
    parts
        The folders in it that were walked.
    walk
        What has been through them.
    names
        The images.
    """

    def __init__(
        self, folder: Path, parts: Sequence[Path], walk: FolderWalk, names: ListedNames
    ) -> None:
        self._folder = folder
        self._names = names
        self._texts = walk.texts
        self._files = [*metadata_above(folder, parts), *walk.metadata]

    def columns(self) -> dict[str, Column]:
        """Return folders, .txt files if an image has one, and the columns of metadata files."""
        found = {FOLDER_COLUMN: Column("name", "folders")}
        if self._has_texts:
            found[TEXT_COLUMN] = Column("text", "sidecar .txt files")
        return found | ({} if self._metadata is None else self._metadata.columns())

    def column(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return what lies beside rows [start, stop); None where there is nothing."""
        if name == FOLDER_COLUMN:
            return [posixpath.dirname(each) or "." for each in self._names.listed(start, stop)]
        if name not in self.columns():
            raise InputError(
                f"there is no such column; it has {', '.join(self.columns())}",
                where=f"column {name}",
                remedy="name one of them",
            )
        if name == TEXT_COLUMN:
            return [self._text(each) for each in self._names.listed(start, stop)]
        assert self._metadata is not None
        return self._metadata.values(name, start, stop)

    @cached_property
    def _metadata(self) -> MetadataFiles | None:
        return MetadataFiles(self._folder, self._files, self._names) if self._files else None

    @cached_property
    def _has_texts(self) -> bool:
        if not self._texts:
            return False
        each = (self._names.listed(row, row + 1)[0] for row in range(len(self._names)))
        return any((self._folder / _text_of(name)).exists() for name in each)

    def _text(self, name: str) -> str | None:
        path = self._folder / _text_of(name)
        try:
            with open_regular(path) as file:
                content = file.read(_LARGEST_TEXT + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(path, error) from error
        if len(content) > _LARGEST_TEXT:
            raise InputError(
                f"holds more than {_LARGEST_TEXT:,} bytes, which is no caption",
                where=path,
                remedy="shorten it, or name another column of captions",
            )
        try:
            return content.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise InputError("is not UTF-8", where=path, remedy="save it as UTF-8") from error


def metadata_above(folder: Path, parts: Sequence[Path]) -> list[str]:
    """Return the metadata files in the folders between a folder and parts of it."""
    between = {above for part in parts for above in part.parents if above.is_relative_to(folder)}
    files = (above / name for above in sorted(between) for name in sorted(METADATA_FILES))
    return [file.relative_to(folder).as_posix() for file in files if file.is_file()]


def _text_of(name: str) -> str:
    return os.path.splitext(name)[0] + TEXT_COLUMN  # noqa: PTH122
