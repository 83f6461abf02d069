"""What lies beside the images of a folder: their folders, texts, JSON and metadata files."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from dtrak_stream.data.columns import FOLDER_COLUMN, Column
from dtrak_stream.data.folder_walk import METADATA_FILES, FolderWalk
from dtrak_stream.data.metadata_files import MetadataFiles
from dtrak_stream.data.sidecars import LARGEST_SIDECAR, SIDECAR_SUFFIXES, Sidecars
from dtrak_stream.data.source import open_regular, unreadable
from dtrak_stream.errors import InputError
from dtrak_stream.support.names import ListedNames


class _FolderFiles:
    """The sidecar files in a folder; those that the walk did not come upon are not looked for."""

    def __init__(self, folder: Path, endings: Collection[str], names: ListedNames) -> None:
        self._folder = folder
        self._names = names
        self._endings = endings

    @cached_property
    def _firsts(self) -> dict[str, int]:
        """Return the first image that has one, for each ending that an image has."""
        firsts: dict[str, int] = {}
        wanted = [suffix for suffix in SIDECAR_SUFFIXES if suffix in self._endings]
        for row in range(len(self._names)):
            if not (missing := [suffix for suffix in wanted if suffix not in firsts]):
                break
            for suffix in missing:
                if self._path(suffix, row).exists():
                    firsts[suffix] = row
        return firsts

    def suffixes(self) -> frozenset[str]:
        return frozenset(self._firsts)

    def first(self, suffix: str) -> int:
        return self._firsts[suffix]

    def where(self, suffix: str, row: int) -> str:
        return str(self._path(suffix, row))

    def contents(self, suffix: str, start: int, stop: int) -> list[bytes | None]:
        names = self._names.listed(start, stop)
        return [self._content(self._folder / (stem_of(name) + suffix)) for name in names]

    def _path(self, suffix: str, row: int) -> Path:
        return self._folder / (stem_of(self._names.listed(row, row + 1)[0]) + suffix)

    def _content(self, path: Path) -> bytes | None:
        try:
            with open_regular(path) as file:
                content = file.read(LARGEST_SIDECAR + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(path, error) from error
        if len(content) > LARGEST_SIDECAR:
            raise InputError(
                f"holds more than {LARGEST_SIDECAR:,} bytes, which is no caption",
                where=path,
                remedy="shorten it, or name another column of captions",
            )
        return content


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
        self._sidecars = Sidecars(_FolderFiles(folder, walk.sidecars, names))
        self._files = [*metadata_above(folder, parts), *walk.metadata]

    def columns(self) -> dict[str, Column]:
        """Return folders, what files beside images hold, and the columns of metadata files."""
        found = {FOLDER_COLUMN: Column("name", "folders")} | self._sidecars.columns()
        return found | ({} if self._metadata is None else self._metadata.columns())

    def column(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return what lies beside rows [start, stop); None where there is nothing."""
        if name == FOLDER_COLUMN:
            return [posixpath.dirname(each) or "." for each in self._names.listed(start, stop)]
        if self._sidecars.has(name):
            return self._sidecars.column(name, start, stop)
        if self._metadata is not None and name in self._metadata.columns():
            return self._metadata.values(name, start, stop)
        raise InputError(
            f"there is no such column; it has {', '.join(self.columns())}",
            where=f"column {name}",
            remedy="name one of them",
        )

    @cached_property
    def _metadata(self) -> MetadataFiles | None:
        return MetadataFiles(self._folder, self._files, self._names) if self._files else None


def metadata_above(folder: Path, parts: Sequence[Path]) -> list[str]:
    """Return the metadata files in the folders between a folder and parts of it."""
    between = {above for part in parts for above in part.parents if above.is_relative_to(folder)}
    files = (above / name for above in sorted(between) for name in sorted(METADATA_FILES))
    return [file.relative_to(folder).as_posix() for file in files if file.is_file()]


def stem_of(name: str) -> str:
    """Return a path without its ending."""
    return os.path.splitext(name)[0]  # noqa: PTH122
