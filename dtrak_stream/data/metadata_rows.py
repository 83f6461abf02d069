"""Rows of files `metadata`, in turn or by where they begin: JSON lines, CSV and parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from dtrak_stream.data.columns import ColumnKind
from dtrak_stream.data.places import Place
from dtrak_stream.data.source import open_regular, unreadable
from dtrak_stream.errors import InputError

ROWS_AT_A_TIME = 2**14

Row = dict[str, Any]
Placed = tuple[int, int, Row]
"""Line number, offset in bytes, and what a row says."""


class MetadataReader:
    """Rows of one metadata file, in turn or by where they begin."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file: IO[bytes] = open_regular(path)
        except OSError as error:
            raise unreadable(path, error) from error

    def __enter__(self) -> MetadataReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def kind(self, value: object) -> ColumnKind:
        """Return what a value is."""
        if isinstance(value, str):
            return "text"
        return "number" if isinstance(value, int) and not isinstance(value, bool) else "other"

    def rows(self) -> Iterator[Placed]:
        """Yield all rows."""
        raise NotImplementedError

    def row_at(self, offset: int) -> Row:
        """Return the row that begins so many bytes into the file."""
        raise NotImplementedError

    def _lines(self) -> Iterator[str]:
        """Yield the lines from here on; `_file.tell()` is where the next one begins."""
        try:
            while line := self._file.readline():
                yield line.decode("utf-8-sig")
        except OSError as error:
            raise unreadable(self._path, error) from error
        except UnicodeDecodeError as error:
            raise InputError("is not UTF-8", where=self._path, remedy="save it as UTF-8") from error

    def _refused(self, line: int, what: str) -> InputError:
        return InputError(
            f"line {line} {what}", where=self._path, remedy="write it again, or remove the line"
        )


class _JsonLines(MetadataReader):
    def rows(self) -> Iterator[Placed]:
        offset = 0
        for number, line in enumerate(self._lines(), start=1):
            if line.strip():
                yield number, offset, self._parsed(line, number)
            offset = self._file.tell()

    def row_at(self, offset: int) -> Row:
        self._file.seek(offset)
        return self._parsed(next(self._lines(), ""), 0)

    def _parsed(self, line: str, number: int) -> Row:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self._refused(number, "is not JSON") from error
        if not isinstance(row, dict):
            raise self._refused(number, "is not a JSON object")
        return row


class _Csv(MetadataReader):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._header = next(self._records(), (0, list[str]()))[1]
        self._begin = self._file.tell()

    def kind(self, value: object) -> ColumnKind:
        """Return what a text stands for."""
        return "number" if str(value).strip().isdecimal() else "text"

    def rows(self) -> Iterator[Placed]:
        if twice := [name for name in self._header if self._header.count(name) > 1]:
            raise self._refused(1, f"has two columns called {twice[0]!r}")
        self._file.seek(self._begin)
        offset = self._begin
        for number, fields in self._records():
            if fields:
                yield number + 1, offset, self._row(number + 1, fields)
            offset = self._file.tell()

    def row_at(self, offset: int) -> Row:
        self._file.seek(offset)
        return self._row(0, next(self._records(), (0, list[str]()))[1])

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(self._lines(), strict=True)
        try:
            for fields in reader:
                yield reader.line_num, fields
        except csv.Error as error:
            raise self._refused(reader.line_num, f"is not CSV ({error})") from error

    def _row(self, number: int, fields: list[str]) -> Row:
        if len(fields) != len(self._header):
            what = f"has {len(fields)} fields, and the header {len(self._header)}"
            raise self._refused(number, what)
        return {name: text or None for name, text in zip(self._header, fields, strict=True)}


class _Parquet(MetadataReader):
    """Rows of a table; where one begins is its number."""

    def __init__(self, path: Path) -> None:
        # Importing datasets takes a second, which only its users should wait for.
        from dtrak_stream.data.parquet_tables import ParquetTable

        self._table = ParquetTable(Place(str(path), "parquet", (path,)))
        super().__init__(path)

    def rows(self) -> Iterator[Placed]:
        for start in range(0, len(self._table), ROWS_AT_A_TIME):
            columns = self._columns(start, min(start + ROWS_AT_A_TIME, len(self._table)))
            for row, cells in enumerate(zip(*columns, strict=True), start=start):
                yield row + 1, row, dict(zip(self._table.columns, cells, strict=True))

    def row_at(self, offset: int) -> Row:
        cells = (column[0] for column in self._columns(offset, offset + 1))
        return dict(zip(self._table.columns, cells, strict=True))

    def _columns(self, start: int, stop: int) -> list[list[Any]]:
        return [self._table.values(name, start, stop) for name in self._table.columns]


_READERS: dict[str, type[MetadataReader]] = {
    ".csv": _Csv,
    ".jsonl": _JsonLines,
    ".parquet": _Parquet,
}


def reading(path: Path) -> MetadataReader:
    """Return what reads a file by its ending; it is open until the context that it is, ends.

    Raises
    ------
    InputError
        If it cannot be read, here or later.
    """
    return _READERS[path.suffix](path)
