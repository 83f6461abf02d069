"""A folder of image files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dtrak_stream.data.columns import Column
from dtrak_stream.data.fetched_tables import WithTables, table_of
from dtrak_stream.data.folder_beside import FolderBeside, stem_of
from dtrak_stream.data.folder_walk import FolderWalk
from dtrak_stream.data.name_block import NameBlock
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.pixels import decode
from dtrak_stream.data.places import SourceRequest
from dtrak_stream.data.remarks import Remarks
from dtrak_stream.data.source import Content, Pixels, RowNumbers, file_hash, open_regular, unusable
from dtrak_stream.errors import InputError
from dtrak_stream.support.names import ListedNames


class FolderSource:
    """The image files below a folder, recursively, in natural order.

    Names starting with a dot and files with other suffixes are passed over; symbolic links are
    followed. The names are kept as one block of bytes, and no file is opened before its image is
    asked for.

    Parameters
    ----------
    folder
        Where they lie.
    parts
        The folders in it that are meant; nothing for all of it.
    options
        How its images are decoded.

    Raises
    ------
    InputError
        If there are no images, or a folder in it cannot be listed, links back into itself, holds
        pictures that this package made, or an image whose name is not UTF-8.
    """

    def __init__(
        self,
        folder: Path,
        parts: Sequence[Path] = (),
        options: ImageOptions = ImageOptions(),  # noqa: B008 (frozen)
    ) -> None:
        self._folder = folder
        self._options = options
        self._names = NameBlock()
        walk = FolderWalk(folder)
        for part in parts or (folder,):
            for name in walk.names(prefix_of(part, folder)):
                self._names.add(_encoded(name, folder))
        self._passed_over = walk.passed_over.lines()
        names = ListedNames(self.sample_ids, range(len(self)))
        self._beside = self._with_tables(FolderBeside(folder, parts, walk, names), walk)
        self._refuse_empty(parts)
        self._remarks = Remarks(len(self), self._names.__getitem__)

    def __len__(self) -> int:
        return len(self._names)

    def sample_ids(self, start: int, stop: int) -> list[str]:
        """Return the paths of rows `[start, stop)` relative to the folder, with `/`."""
        return [self._names[index] for index in range(start, stop)]

    def pixels(self, index: int) -> Pixels:
        """Decode file `index`, (height, width, channels); see `decode`."""
        try:
            with open_regular(self._path(index)) as file:
                return decode(file, self._options, self._remarks.about(index))
        except OSError as error:
            raise unusable(self._path(index), error) from error

    def check(self, rows: RowNumbers, *, visible: bool) -> None:
        """Do nothing: each file stands for itself."""

    def reaches_outside(self) -> bool:
        """Return False: all images are in the folder."""
        return False

    def remarks(self) -> list[str]:
        """Return what is to be said of the files passed over and the images decoded."""
        return [*self._passed_over, *self._remarks.lines()]

    def columns(self) -> Mapping[str, Column]:
        """Return folders, texts, JSON, and the columns of metadata files; see `FolderBeside`,
        and of what img2dataset left.
        """
        return self._beside.columns()

    def column(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return what lies beside rows `[start, stop)`."""
        return self._beside.column(name, start, stop)

    def layout(self) -> str:
        """Return that these are encoded images with names."""
        return "files"

    def contents(self, start: int, stop: int) -> Iterator[Content]:
        """Yield the name of each file and the hash of its bytes."""
        for index in range(start, stop):
            yield Content(file_hash(self._path(index)), self._names[index])

    def _with_tables(self, own: FolderBeside, walk: FolderWalk) -> FolderBeside | WithTables:
        """Return the columns with those of tables that img2dataset left, if there are any."""
        outside = table_of(self._folder)
        tables = walk.tables | ({} if outside is None else {"": outside})
        stems = ListedNames(self._stems, range(len(self)))
        return WithTables(own, tables, stems) if tables else own

    def _stems(self, start: int, stop: int) -> list[str]:
        return [stem_of(name) for name in self.sample_ids(start, stop)]

    def _refuse_empty(self, parts: Sequence[Path]) -> None:
        if not len(self):
            where = ", ".join(map(str, parts or (self._folder,)))
            raise InputError(
                "; ".join(["holds no images", *self._passed_over]),
                where=where,
                remedy="name a source that has some",
            )

    def _path(self, index: int) -> Path:
        return self._folder / self._names[index]


def open_folder(request: SourceRequest) -> FolderSource:
    """Open a folder of images, or the parts of it that a split is."""
    return FolderSource(request.place.path, request.place.parts, request.options)


def prefix_of(part: Path, folder: Path) -> str:
    """Return what stands before the names of files in a part of a folder."""
    return "" if part == folder else f"{part.relative_to(folder).as_posix()}/"


def _encoded(name: str, folder: Path) -> bytes:
    try:
        return name.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"a file name in it is not UTF-8 ({name!r})", where=folder, remedy="rename the file"
        ) from error
