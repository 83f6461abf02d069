"""Prompts: given one by one, or by a file with one in each row, which is read as it is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from dtrak_stream.data.text_tables import TextTable, open_csv, open_json_lines, open_lines
from dtrak_stream.errors import InputError

_FLAG = "--prompts"
_OPENERS = {".txt": open_lines, ".csv": open_csv, ".jsonl": open_json_lines}
_USUAL = ("prompt", "text", "caption")
_AT_ONCE = 1024


@dataclass(frozen=True)
class Prompts:
    """Texts that images take turns in.

    Attributes
    ----------
    given
        The first of them.
    table, column
        Where the others are, if there are any.
    """

    given: tuple[str, ...] = ()
    table: TextTable | None = None
    column: str = ""

    def __len__(self) -> int:
        return len(self.given) + (0 if self.table is None else len(self.table))

    def of(self, numbers: range) -> list[str]:
        """Return the prompts of the images of these numbers; the first follows the last.

        Raises
        ------
        InputError
            If the file holds no text there, or cannot be read any more.
        """
        return [self._at(number % len(self)) for number in numbers]

    @property
    def identity(self) -> str:
        """Return the xxh3-128 of all prompts in their order."""
        digest = xxhash.xxh3_128()
        for text in self._all():
            digest.update(f"{len(text)} {text}".encode())
        return digest.hexdigest()

    def _all(self) -> Iterator[str]:
        yield from self.given
        if self.table is not None:
            for first in range(0, len(self.table), _AT_ONCE):
                yield from self._in_file(first, min(first + _AT_ONCE, len(self.table)))

    def _at(self, place: int) -> str:
        if place < len(self.given):
            return self.given[place]
        row = place - len(self.given)
        return self._in_file(row, row + 1)[0]

    def _in_file(self, start: int, stop: int) -> list[str]:
        assert self.table is not None
        texts = self.table.values(self.column, start, stop)
        for row, text in enumerate(texts, start=start + 1):
            if not isinstance(text, str):
                raise InputError(
                    f"row {row} has no text in the column {self.column}",
                    where=f"{_FLAG} {self.table.path}",
                    remedy="write one there, or take the row out",
                )
        return texts


def read_prompts(given: Sequence[str], file: Path | None) -> Prompts:
    """Return prompts that are given, and those of a file after them.

    Parameters
    ----------
    given
        Prompts.
    file
        `.txt`: one a line, but for empty lines; `.csv` or `.jsonl`: a column `prompt`, `text` or
        `caption`, or the only one there is.

    Raises
    ------
    InputError
        If the file is of another kind, cannot be read, holds no row, a row without a text, or
        several columns that may be meant.
    """
    if file is None:
        return Prompts(tuple(given))
    opener = _OPENERS.get(file.suffix.lower())
    if opener is None:
        raise InputError(
            "is no file of prompts",
            where=f"{_FLAG} {file}",
            remedy=f"give one of these kinds: {', '.join(_OPENERS)}",
        )
    table = opener(file)
    if not len(table):
        raise InputError("holds no prompt", where=f"{_FLAG} {file}", remedy="write one a line")
    return Prompts(tuple(given), table, _column_of(table.columns, file))


def _column_of(columns: Sequence[str], file: Path) -> str:
    usual: list[Any] = [name for name in columns if name.lower() in _USUAL]
    found = usual or list(columns)
    if len(found) == 1:
        return str(found[0])
    raise InputError(
        f"has the columns {', '.join(found)}, of which several may hold the prompts",
        where=f"{_FLAG} {file}",
        remedy="call the one that is meant `prompt`, and no other `text` or `caption`",
    )
