"""Tables that img2dataset leaves by what it fetched: `00000.parquet` by `00000/` or `00000.tar`.

Each row has the `key` of an image, which is `00000/KEY.jpg` or `KEY.jpg` in `00000.tar`, whether it
was fetched (`status`), its caption and more. Of each image twelve bytes are kept: which row of
which table it is.
"""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dtrak_stream.data.columns import Column, ColumnKind
from dtrak_stream.data.source import open_regular, unreadable
from dtrak_stream.errors import InputError
from dtrak_stream.support.name_index import NameIndex
from dtrak_stream.support.names import Names, name_at

SUFFIX = ".parquet"
_KEY, _STATUS, _FETCHED = "key", "status", "success"
# what img2dataset itself writes of an image, none of which is a caption
_OF_FETCHING = frozenset(
    {_KEY, _STATUS, "url", "error_message", "exif", "md5", "sha256", "sha512", "hash"}
)
_ROWS_AT_A_TIME = 2**14
_NO_ROW = -1


class Beside(Protocol):
    """Columns of the images of a source."""

    def columns(self) -> Mapping[str, Column]:
        """Return what there is."""

    def column(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return rows [start, stop) of one."""


def is_fetched_table(path: Path) -> bool:
    """Return whether a file is called as such a table is, and what it is about lies beside it."""
    if path.suffix.lower() != SUFFIX or not path.stem.isdecimal():
        return False
    return path.with_suffix("").is_dir() or path.with_suffix(".tar").is_file()


def table_of(fetched: Path) -> Path | None:
    """Return the table beside a folder or tar file of images; None if there is none."""
    path = fetched.absolute().with_suffix(SUFFIX)
    return path if is_fetched_table(path) and path.is_file() else None


class FetchedTables:
    """The rows of such tables, found by image.

    Parameters
    ----------
    tables
        The tables by what stands before `/KEY` in the names of the images they are about.
    names
        The images, without their endings.

    Raises
    ------
    InputError
        If a table cannot be read, or an image has two rows.
    """

    def __init__(self, tables: Mapping[str, Path], names: Names) -> None:
        self._tables = [*tables.values()]
        self._names = names
        self._kinds = self._known_kinds()
        self._reading = threading.Lock()
        self._last: tuple[tuple[int, str], Any] | None = None
        self._table_of = np.zeros(len(names), np.uint32)
        self._row_of = np.full(len(names), _NO_ROW, np.int64)
        index = NameIndex(names)
        for number, prefix in enumerate(tables):
            self._take_note(number, prefix, index)

    def columns(self) -> dict[str, Column]:
        """Return the columns of all tables."""
        where = self._tables[0].name if len(self._tables) == 1 else f"{len(self._tables):,} tables"
        told = f"of {where} of img2dataset"
        return {name: Column(kind, f"column {name} {told}") for name, kind in self._kinds.items()}

    def column(self, name: str, start: int, stop: int) -> list[Any]:
        """Return what a column holds for images [start, stop); None for those without."""
        found: list[Any] = [None] * (stop - start)
        rows, tables = self._row_of[start:stop], self._table_of[start:stop]
        for number in np.unique(tables[rows != _NO_ROW]).tolist():
            places = np.flatnonzero((tables == number) & (rows != _NO_ROW))
            cells = self._cells(number, name)
            if cells is not None:
                values = cells.take(rows[places]).to_pylist()
                for place, value in zip(places.tolist(), values, strict=True):
                    found[place] = value
        return found

    def _known_kinds(self) -> dict[str, ColumnKind]:
        """Return the columns of the tables, of which only those with keys are img2dataset's."""
        kinds: dict[str, ColumnKind] = {}
        for path in self._tables:
            with _parquet(path) as file:
                fields = {each.name: _kind(each.name, each.type) for each in file.schema_arrow}
            if _KEY in fields:
                kinds |= fields
        return kinds

    def _take_note(self, number: int, prefix: str, index: NameIndex) -> None:
        first = 0
        for keys, fetched in self._rows(number):
            names = [posixpath.join(prefix, str(key)).encode() for key in keys]
            places = index.places(names, len(names))
            is_meant = (places >= 0) & np.array(fetched, bool)
            self._refuse_twice(number, places[is_meant])
            self._table_of[places[is_meant]] = number
            self._row_of[places[is_meant]] = first + np.flatnonzero(is_meant)
            first += len(names)

    def _rows(self, number: int) -> Iterator[tuple[list[Any], list[bool]]]:
        """Yield keys, and whether their images were fetched, a bounded number at a time."""
        with _parquet(self._tables[number]) as file:
            there = [name for name in (_KEY, _STATUS) if name in file.schema_arrow.names]
            if _KEY not in there:
                return
            for batch in file.iter_batches(_ROWS_AT_A_TIME, columns=there):
                rows = batch.to_pydict()
                status = rows.get(_STATUS, [_FETCHED] * batch.num_rows)
                yield rows[_KEY], [each == _FETCHED for each in status]

    def _refuse_twice(self, number: int, places: Any) -> None:
        in_order = np.sort(places)
        twice = [*in_order[1:][in_order[1:] == in_order[:-1]]]
        twice += [*places[self._row_of[places] != _NO_ROW]]
        if twice:
            raise InputError(
                f"has a row of {name_at(self._names, int(twice[0]))}, which has one already",
                where=self._tables[number],
                remedy="fetch the images again, or name the column of other captions",
            )

    def _cells(self, number: int, name: str) -> Any:
        """Return a column of a table, the last one of which is kept; None if it has none."""
        with self._reading:
            if self._last is None or self._last[0] != (number, name):
                with _parquet(self._tables[number]) as file:
                    there = name in file.schema_arrow.names
                    cells = file.read(columns=[name])[name] if there else None
                self._last = (number, name), cells
            return self._last[1]


class WithTables:
    """The columns of a source and those of tables, where the source has no such column itself.

    A text of the tables is a caption only where the source has no text of its own.

    Parameters
    ----------
    own
        The columns of the source.
    tables
        The tables by what stands before `/KEY` in names; see `FetchedTables`.
    names
        The images, without their endings.
    """

    def __init__(self, own: Beside, tables: Mapping[str, Path], names: Names) -> None:
        self._own = own
        self._given = tables
        self._names = names

    def columns(self) -> dict[str, Column]:
        """Return the columns of both."""
        own = self._own.columns()
        has_texts = any(column.kind == "text" for column in own.values())
        found = {
            name: Column("name", column.told) if has_texts and column.kind == "text" else column
            for name, column in self._tables.columns().items()
        }
        return found | dict(own)

    def column(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return what lies beside rows [start, stop); None where there is nothing."""
        if name in self._tables.columns() and name not in self._own.columns():
            return self._tables.column(name, start, stop)
        return self._own.column(name, start, stop)

    @cached_property
    def _tables(self) -> FetchedTables:
        return FetchedTables(self._given, self._names)


def _kind(name: str, data_type: Any) -> ColumnKind:
    import pyarrow

    if pyarrow.types.is_integer(data_type):
        return "number"
    if not (pyarrow.types.is_string(data_type) or pyarrow.types.is_large_string(data_type)):
        return "other"
    return "name" if name in _OF_FETCHING else "text"


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    """Open a table; raises `InputError` for whatever goes wrong with it, also inside."""
    # takes a tenth of a second, which only those who have such tables should wait for
    import pyarrow
    from pyarrow import parquet

    try:
        with open_regular(path) as file, parquet.ParquetFile(file) as table:
            yield table
    except (OSError, pyarrow.ArrowException) as error:
        raise unreadable(path, error) from error
