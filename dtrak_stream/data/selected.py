"""Some rows of a source, in an order of their own: what `--where` and `--rows` pick.

First the rows are kept that have the values asked for, then those are taken, in their order, whose
numbers stand in a file; a slice and a limit count among what is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.data.column_values import about_option
from dtrak_stream.data.columns import Column, as_text
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.row_files import read_rows
from dtrak_stream.data.source import Content, Pixels, RowNumbers, Source, stretches
from dtrak_stream.data.splits import ALL, chosen_split
from dtrak_stream.errors import InputError

SPLIT_COLUMN = "split"
"""The column of a list that tells splits."""

_AT_A_TIME = 2**14
_MOST_SPLITS = 64
_VALUES_TOLD = 5


class SelectedSource:
    """Rows of another source, each once; eight bytes are kept for each.

    Parameters
    ----------
    source
        The other one.
    rows
        (n,) which of its rows, in which order.

    Attributes
    ----------
    whole
        The source of which no rows are picked.
    """

    def __init__(self, source: Source, rows: NDArray[np.int64]) -> None:
        self.whole: Source = whole_of(source)
        self._source = source
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def sample_ids(self, start: int, stop: int) -> list[str]:
        """Return the names of rows `[start, stop)`, which are those of the whole source."""
        found = (self._source.sample_ids(*ends) for ends in self._stretches(start, stop))
        return [name for names in found for name in names]

    def pixels(self, index: int) -> Pixels:
        """Return image `index`; raises as that of the whole source."""
        return self._source.pixels(int(self._rows[index]))

    def check(self, rows: RowNumbers, *, visible: bool) -> None:
        """Raise `InputError` if some rows break a rule of the whole source."""
        if isinstance(rows, range):
            self._source.check(self._rows[rows.start : rows.stop], visible=visible)
        else:
            self._source.check(self._rows[rows], visible=visible)

    def layout(self) -> str:
        """Return the layout of the whole source: names and contents tell which rows these are."""
        return self._source.layout()

    def contents(self, start: int, stop: int) -> Iterator[Content]:
        """Yield what changes when a sample does, always with its name."""
        for first, last in self._stretches(start, stop):
            names = self._source.sample_ids(first, last)
            for name, content in zip(names, self._source.contents(first, last), strict=True):
                yield Content(content.picture, name)

    def reaches_outside(self) -> bool:
        """Return whether something read so far lies in other files than the source names."""
        return self._source.reaches_outside()

    def remarks(self) -> list[str]:
        """Return what is to be said of the images decoded so far, in a clause each."""
        return self._source.remarks()

    def columns(self) -> Mapping[str, Column]:
        """Return the columns of the whole source."""
        return self._source.columns()

    def column(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return rows `[start, stop)` of a column."""
        found = (self._source.column(name, *ends) for ends in self._stretches(start, stop))
        return [cell for cells in found for cell in cells]

    def _stretches(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        for first in range(start, stop, _AT_A_TIME):
            yield from stretches(self._rows[first : min(first + _AT_A_TIME, stop)])


def whole_of(source: Source) -> Source:
    """Return the source of which these are rows, or the source itself."""
    return source.whole if isinstance(source, SelectedSource) else source


def select(source: Source, options: ImageOptions, where: str) -> Source:
    """Return the rows of a source that `--where` and `--rows` pick.

    Parameters
    ----------
    source
        All of its rows.
    options
        What picks some.
    where
        What the user calls the source, for messages.

    Raises
    ------
    InputError
        If there is no such column, no row has the value asked for, or the file of row numbers is
        refused; see `read_rows`.
    """
    for condition in options.where:
        source = _with_value(source, condition, where)
    if options.rows is not None:
        source = SelectedSource(source, read_rows(options.rows, len(source)))
    return source


def of_split(source: Source, options: ImageOptions, where: str) -> Source:
    """Return the split that is meant of a source whose column `split` tells splits, if it has one.

    Parameters
    ----------
    source
        All of its rows.
    options
        Which split is meant, unless a condition is about that column.
    where
        What the user calls the source, for messages.

    Raises
    ------
    InputError
        If there is no such split, or it is said twice, or there are several and none was asked for.
    """
    has_splits = SPLIT_COLUMN in source.columns()
    conditions = [each for each in options.where if each.partition("=")[0] == SPLIT_COLUMN]
    if conditions and options.split not in (None, ALL):
        raise InputError(
            f"both --split {options.split} and --where {conditions[0]} say which split",
            where=where,
            remedy="give one of them",
        )
    if conditions:
        return source
    there = values_of(source, SPLIT_COLUMN, _MOST_SPLITS) if has_splits else []
    chosen = chosen_split(there if len(there) <= _MOST_SPLITS else [], options.split, where)
    if chosen is None:
        return source
    rows = with_value(source, SPLIT_COLUMN, chosen)
    return source if len(rows) == len(source) else SelectedSource(source, rows)


def with_value(source: Source, column: str, value: str) -> NDArray[np.int64]:
    """Return the rows (n,) of which a column, as text, is a value."""
    blocks = [np.empty(0, np.int64)]
    for start in range(0, len(source), _AT_A_TIME):
        cells = source.column(column, start, min(start + _AT_A_TIME, len(source)))
        same = np.array([as_text(cell) == value for cell in cells], np.bool_)
        blocks.append(np.flatnonzero(same) + start)
    return np.concatenate(blocks)


def values_of(source: Source, column: str, most: int) -> list[str]:
    """Return the different values of a column, as text, in the order they are come upon.

    It stops looking when there are more than `most`.
    """
    found = dict[str, None]()
    for start in range(0, len(source), _AT_A_TIME):
        cells = source.column(column, start, min(start + _AT_A_TIME, len(source)))
        found |= dict.fromkeys(filter(None, map(as_text, cells)))
        if len(found) > most:
            break
    return list(found)


def _with_value(source: Source, condition: str, where: str) -> Source:
    column, _, value = condition.partition("=")
    flag = f"--where {condition}"
    if not source.columns():
        raise InputError(
            f"{where} has no columns", where=flag, remedy="use --rows FILE, or a list of its images"
        )
    try:
        rows = with_value(source, column, value.strip())
    except InputError as error:
        raise about_option(error, flag) from error
    if not len(rows):
        found = values_of(source, column, _VALUES_TOLD)
        there = ", ".join(found[:_VALUES_TOLD]) + ", ..." * (len(found) > _VALUES_TOLD)
        raise InputError(
            f"no row of {where} has that value; the column holds {there or 'nothing'}",
            where=flag,
            remedy="name a value that is there",
        )
    return source if len(rows) == len(source) else SelectedSource(source, rows)
