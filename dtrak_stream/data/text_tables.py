"""Tables of rows in text files: found once, and parsed when they are asked for.

Of each row eight bytes are kept, where it begins.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from dtrak_stream.data.source import open_regular, unreadable
from dtrak_stream.errors import InputError

_MARK = b"\xef\xbb\xbf"  # of UTF-8, as some spreadsheets write it
_MOST_COLUMNS = 1024
_SPLITS = {"0": "train", "1": "validation", "2": "test"}


class Table(Protocol):
    """Rows of named columns, in a fixed order."""

    columns: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of rows."""

    def values(self, column: str, start: int, stop: int) -> list[Any]:
        """Return what a column holds in rows `[start, stop)`; None where it holds nothing."""


class TextTable:
    """The rows of one text file; made by `open_csv`, `open_json_lines`, `open_lines` and others.

    Attributes
    ----------
    path
        The file.
    columns
        Their names, in the order of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts = array("Q")
        self.columns: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self._starts) - 1

    def values(self, column: str, start: int, stop: int) -> list[Any]:
        """Return what a column holds in rows `[start, stop)`; None where it holds nothing.

        Raises
        ------
        InputError
            If the file is not what it was.
        """
        if start >= stop:
            return []
        try:
            with open_regular(self.path) as file:
                file.seek(self._starts[start])
                block = file.read(self._starts[stop] - self._starts[start])
            found = list(self._parsed(block, column))
        except (OSError, ValueError, csv.Error) as error:
            raise unreadable(self.path, error) from error
        if len(found) != stop - start:
            raise InputError(
                "changed while it was read", where=self.path, remedy="start the command again"
            )
        return found

    def _parsed(self, block: bytes, column: str) -> Iterator[Any]:
        raise NotImplementedError

    def _note(self, starts: Iterable[int]) -> None:
        """Keep where the rows begin, and where the last one ends."""
        self._starts.extend(starts)


class _CsvTable(TextTable):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with _refusals(path), open_regular(path) as file:
            lines = _Lines(file)
            reader = csv.reader(lines, strict=True)
            self.columns = tuple(name.strip() for name in next(_rows(reader), []))
            _refuse_columns(self.columns, path)
            self._note(self._beginnings(reader, lines))

    def _beginnings(self, reader: Any, lines: _Lines) -> Iterator[int]:
        yield lines.offset
        for row in _rows(reader):
            if len(row) != len(self.columns):
                raise InputError(
                    f"line {reader.line_num} has {len(row)} fields, the first one has "
                    f"{len(self.columns)}",
                    where=self.path,
                    remedy="write as many in each line; put texts with commas into quotes",
                )
            yield lines.offset

    def _parsed(self, block: bytes, column: str) -> Iterator[str | None]:
        place = self.columns.index(column)
        for row in _rows(csv.reader(io.StringIO(block.decode(), newline=""), strict=True)):
            yield row[place] or None


class _JsonLinesTable(TextTable):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._found = dict[str, None]()
        with _refusals(path), open_regular(path) as file:
            lines = _Lines(file)
            self._note(self._beginnings(lines))
        self.columns = tuple(self._found)
        _refuse_columns(self.columns, path)

    def _beginnings(self, lines: _Lines) -> Iterator[int]:
        yield lines.offset
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = self._row(line, number)
            self._found |= dict.fromkeys(row)
            if len(self._found) > _MOST_COLUMNS:
                _refuse_columns(tuple(self._found), self.path)
            yield lines.offset

    def _row(self, line: str, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise InputError(
                f"line {number} is no JSON object",
                where=self.path,
                remedy='write one such as {"path": "a.png"} in each line',
            )
        return row

    def _parsed(self, block: bytes, column: str) -> Iterator[Any]:
        # line feeds alone end a line: JSON texts may hold other characters that split lines
        for line in block.split(b"\n"):
            if line.strip():
                yield json.loads(line).get(column)


class _PartitionTable(TextTable):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.columns = ("file_name", "split")
        with _refusals(path), open_regular(path) as file:
            lines = _Lines(file)
            self._note(self._beginnings(lines))

    def _beginnings(self, lines: _Lines) -> Iterator[int]:
        yield lines.offset
        for number, line in enumerate(lines, start=1):
            words = line.split()
            if not words:
                continue
            if len(words) != len(self.columns) or words[1] not in _SPLITS:
                raise InputError(
                    f"line {number} is not a name and a split: 0 (train), 1 (validation) or 2 "
                    "(test)",
                    where=self.path,
                    remedy="give a list such as CelebA's list_eval_partition.txt, or a .csv file",
                )
            yield lines.offset

    def _parsed(self, block: bytes, column: str) -> Iterator[str]:
        for line in block.decode().split("\n"):
            if words := line.split():
                yield words[0] if column == "file_name" else _SPLITS[words[1]]


class _LinesTable(TextTable):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.columns = ("text",)
        with _refusals(path), open_regular(path) as file:
            lines = _Lines(file)
            self._note(self._beginnings(lines))

    def _beginnings(self, lines: _Lines) -> Iterator[int]:
        yield lines.offset
        for line in lines:
            if line.strip():
                yield lines.offset

    def _parsed(self, block: bytes, column: str) -> Iterator[str]:
        assert column in self.columns
        for line in block.decode().split("\n"):
            if text := line.strip():
                yield text


def open_lines(path: Path) -> TextTable:
    """Open a file of a text in each line, without those that are empty; its column is `text`.

    Raises
    ------
    InputError
        If it cannot be read, or is not in UTF-8.
    """
    return _LinesTable(path)


def open_partition(path: Path) -> TextTable:
    """Open a list of the splits of images, as CelebA has one: a name and 0, 1 or 2 in each line.

    Its columns are `file_name` and `split`: `train`, `validation` or `test`.

    Raises
    ------
    InputError
        If it cannot be read, or a line is none of that.
    """
    return _PartitionTable(path)


def open_csv(path: Path) -> TextTable:
    """Open a CSV file in UTF-8 whose first line names its columns.

    Raises
    ------
    InputError
        If it cannot be read, is not CSV in UTF-8, or has no first line, a column twice or without
        a name, or a row of another length.
    """
    return _CsvTable(path)


def open_json_lines(path: Path) -> TextTable:
    """Open a file with a JSON object in each line; its columns are the names in any of them.

    Raises
    ------
    InputError
        If it cannot be read, or a line is no JSON object.
    """
    return _JsonLinesTable(path)


class _Lines:
    """Yields the lines of a file, and knows where the last one it gave ended."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.offset = len(_MARK) if file.peek(len(_MARK)).startswith(_MARK) else 0
        file.seek(self.offset)

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            self.offset += len(line)
            yield line.decode()


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Say of a text file that cannot be read why."""
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"is not a table in UTF-8 ({error})", where=path, remedy="save it in UTF-8"
        ) from error


def _rows(reader: Iterable[list[str]]) -> Iterator[list[str]]:
    return (row for row in reader if row)


def _refuse_columns(names: tuple[str, ...], path: Path) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if not names:
        problem = "is empty"
    elif "" in names:
        problem = "has a column without a name"
    elif len(names) > _MOST_COLUMNS:
        problem = f"has more than {_MOST_COLUMNS:,} columns"
    elif twice is not None:
        problem = f"has two columns called {twice}"
    else:
        return
    raise InputError(problem, where=path, remedy="give a table with a name for each column")
