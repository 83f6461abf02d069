"""Images that a table lists: a CSV, JSON lines or parquet file with a column of their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dtrak_stream.data.columns import Column, ColumnKind, is_path
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.pixels import decode
from dtrak_stream.data.places import Place, SourceRequest
from dtrak_stream.data.remarks import Remarks
from dtrak_stream.data.row_paths import PATH_COLUMNS, RowPaths, windows_hint
from dtrak_stream.data.selected import SPLIT_COLUMN, of_split
from dtrak_stream.data.source import (
    Content,
    Pixels,
    RowNumbers,
    Source,
    file_hash,
    open_regular,
    stretches,
    unusable,
)
from dtrak_stream.data.text_tables import Table, open_csv, open_json_lines, open_partition
from dtrak_stream.errors import BadImageError, InputError, first_few
from dtrak_stream.support.name_index import Hashes, hashes_of
from dtrak_stream.support.progress import progress

_AT_A_TIME = 2**14
_NAMES_TOLD = 3
_MANY = 100_000


class ManifestSource:
    """The image files that the rows of a table name, in its order.

    Paths are relative to the folder that the table lies in; as they are written there they are the
    sample ids. Of a row nothing but its place in the file is kept.

    Parameters
    ----------
    path
        The table: `.csv`, `.jsonl` or `.parquet`, or `.txt` with a name and a split a line.
    options
        Which column holds the paths, and how images are decoded.

    Raises
    ------
    InputError
        If the table cannot be read, has no rows, or no column of paths, or several and none was
        named.
    """

    def __init__(
        self,
        path: Path,
        options: ImageOptions = ImageOptions(),  # noqa: B008 (frozen)
    ) -> None:
        self._path = path
        self._options = options
        self._table = _open_table(path)
        if not len(self._table):
            raise InputError("lists no images", where=path, remedy="write a row for each image")
        self._paths = RowPaths(self._table.columns, options.path_column, path)
        self._missing = list[str]()
        self._remarks = Remarks(len(self), self._id)

    def __len__(self) -> int:
        return len(self._table)

    def sample_ids(self, start: int, stop: int) -> list[str]:
        """Return the paths in rows `[start, stop)` as they are written."""
        found = self._paths.of_rows(self._table, start, stop)
        names = [name for name in found if is_path(name)]
        if len(names) == len(found):
            return names
        row, cell = next(
            (row, cell) for row, cell in enumerate(found, start=start) if cell not in names
        )
        held = "nothing" if cell in (None, "") else f"a {type(cell).__name__}"
        held = repr(cell) if isinstance(cell, str) and cell else held
        raise InputError(
            f"row {row} (the first is 0) holds {held} where a path should be",
            where=f"{self._path}, column {self._paths.name}",
            remedy="write a path in each row, or name its column with --path-column",
        )

    def pixels(self, index: int) -> Pixels:
        """Decode the file that row `index` names, (height, width, channels); see `decode`."""
        path = self._path.parent / self._id(index)
        try:
            with open_regular(path) as file:
                return decode(file, self._options, self._remarks.about(index))
        except FileNotFoundError as error:
            raise BadImageError("the file does not exist") from error
        except OSError as error:
            raise unusable(path, error) from error

    def check(self, rows: RowNumbers, *, visible: bool) -> None:
        """Refuse a file that two of the rows name, and count those that are missing."""
        self._refuse_twins(rows)
        missing, first = 0, list[str]()
        shown = visible and len(rows) > _MANY
        with progress(
            len(rows), description="looking for files", unit="file", visible=shown
        ) as bar:
            for _, names in self._blocks(rows):
                gone = [name for name in names if not _is_there(self._path.parent / name)]
                missing += len(gone)
                first += gone[: _NAMES_TOLD - len(first)]
                bar.update(len(names))
        self._missing = [_missing_line(missing, first)] if missing else []

    def layout(self) -> str:
        """Return that these are encoded images with names, as in a folder."""
        return "files"

    def contents(self, start: int, stop: int) -> Iterator[Content]:
        """Yield the path of each row and the hash of its file."""
        for _, names in self._blocks(range(start, stop)):
            for name in names:
                yield Content(file_hash(self._path.parent / name), name)

    def reaches_outside(self) -> bool:
        """Return False: the files that the table lists are the source."""
        return False

    def remarks(self) -> list[str]:
        """Return what is to be said of missing files and of the images decoded."""
        return [*self._missing, *self._remarks.lines()]

    def columns(self) -> Mapping[str, Column]:
        """Return the columns of the table."""
        return {name: Column(self._kind(name), f"column {name}") for name in self._table.columns}

    def column(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return rows `[start, stop)` of a column."""
        if name not in self._table.columns:
            raise InputError(
                f"there is no such column; it has {', '.join(self._table.columns)}",
                where=f"{self._path}, column {name}",
                remedy="name one of them",
            )
        return self._table.values(name, start, stop)

    def files(self) -> Iterator[Path]:
        """Yield the file of each row."""
        for _, names in self._blocks(range(len(self))):
            yield from map(self._path.parent.joinpath, names)

    def _id(self, index: int) -> str:
        return self.sample_ids(index, index + 1)[0]

    def _kind(self, name: str) -> ColumnKind:
        if self._paths.columns == (name,) or name in (*PATH_COLUMNS, SPLIT_COLUMN):
            return "name"
        (first,) = self._table.values(name, 0, 1)
        if isinstance(first, int) and not isinstance(first, bool):
            return "number"
        return "text" if first is None or isinstance(first, str) else "other"

    def _blocks(self, rows: RowNumbers) -> Iterator[tuple[RowNumbers, list[str]]]:
        """Yield some of the rows at a time, each with their paths."""
        for first in range(0, len(rows), _AT_A_TIME):
            block = rows[first : first + _AT_A_TIME]
            names = [self.sample_ids(start, stop) for start, stop in stretches(block)]
            yield block, [name for each in names for name in each]

    def _refuse_twins(self, rows: RowNumbers) -> None:
        hashes = [hashes_of((), 0)]
        for _, names in self._blocks(rows):
            hashes.append(self._hashes(names))
        in_order = np.sort(np.concatenate(hashes))
        twins = in_order[1:][in_order[1:] == in_order[:-1]]
        if not len(twins):
            return
        name, first, second = self._twins(rows, twins[0])
        more = f" ({len(twins):,} rows in all name what another row names)"
        raise InputError(
            f"rows {first} and {second} (the first is 0) both name {name}{more * (len(twins) > 1)}",
            where=self._path,
            remedy="leave one row for each image, or choose rows with --where or --rows",
        )

    def _hashes(self, names: Sequence[str]) -> Hashes:
        """Return what stands for the file of each path, however it is written; links are not."""
        folder = self._path.parent.absolute()
        return hashes_of((str(folder / name).encode() for name in names), len(names))

    def _twins(self, rows: RowNumbers, digest: np.bytes_) -> tuple[str, int, int]:
        """Return a path that is there twice, by its hash, and the first two rows that name it."""
        found = list[tuple[str, int]]()
        for block, names in self._blocks(rows):
            same = self._hashes(names) == digest
            found += [(names[place], int(block[place])) for place in np.flatnonzero(same)]
        (name, first), (_, second), *_ = found
        return name, first, second


def open_manifest(request: SourceRequest) -> Source:
    """Open the split that is meant of what a table lists; raises as `ManifestSource`."""
    body, options = request.place.body, request.options
    return of_split(ManifestSource(table_of(body), options), options, body)


def table_of(body: str) -> Path:
    """Return the table that a source `list:FILE` names."""
    return Path(body.partition(":")[2])


def _open_table(path: Path) -> Table:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return open_csv(path)
    if suffix == ".jsonl":
        return open_json_lines(path)
    if suffix == ".txt":
        return open_partition(path)
    if suffix == ".parquet":
        # Importing datasets takes a second, which only its users should wait for.
        from dtrak_stream.data.parquet_tables import ParquetTable

        return ParquetTable(Place(str(path), "parquet", (path,)))
    raise InputError(
        "is no list of images",
        where=path,
        remedy="name a .csv, .jsonl or .parquet file with a column of paths, or a .txt file with a "
        "name and a split (0, 1 or 2) in each line",
    )


def _missing_line(count: int, first: Sequence[str]) -> str:
    files = "1 file that it lists is" if count == 1 else f"{count:,} files that it lists are"
    named = first_few(first, count=count)
    return f"{files} missing ({named}) and will be left out as bad samples{windows_hint(first)}"


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file can have
        return False
