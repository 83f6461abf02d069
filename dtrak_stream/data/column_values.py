"""Reading a column of a source: which one is meant, and its values as texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from dtrak_stream.data.columns import as_label
from dtrak_stream.data.source import Source
from dtrak_stream.errors import InputError

Values: TypeAlias = Callable[[int, int], Sequence[Any]]
"""Returns what is in rows [start, stop) of a source."""
Texts: TypeAlias = Callable[[int, int], list[str | None]]
"""Returns the texts of rows [start, stop) of a source, None where there is none."""

_OF_COLUMN = re.compile(r"(?:.*, )?(?:column|entry) .*")


def values_of(source: Source, column: str, flag: str) -> Values:
    """Return what reads a column that an option names.

    Raises
    ------
    InputError
        As the source does; see `about_option`.
    """

    def values(start: int, stop: int) -> Sequence[Any]:
        try:
            return source.column(column, start, stop)
        except InputError as error:
            raise about_option(error, f"{flag} {column}") from error

    values(0, 1)
    return values


def about_option(error: InputError, option: str) -> InputError:
    """Return what a source refuses of a column as a refusal of the option that names the column.

    What it refuses of a file, such as a text beside an image, stays about that file.
    """
    of_column = _OF_COLUMN.fullmatch(error.where) is not None
    where = option if of_column else error.where
    return InputError(error.what, where=where, remedy=error.remedy)


def texts_of(values: Values, *, what: str, where: str) -> Texts:
    """Return what reads the same values as texts.

    Parameters
    ----------
    values
        Reads them as they lie.
    what
        What a text is, for the refusal of what is none.
    where
        The column, for the same.
    """

    def texts(start: int, stop: int) -> list[str | None]:
        rows = enumerate(values(start, stop), start=start)
        return [_text(value, row, what, where) for row, value in rows]

    return texts


def chosen_column(
    source: Source, groups: Iterable[Sequence[str]], *, what: str, flag: str, where: str
) -> str | None:
    """Return the column that is meant if none was named; None if none is likely.

    Parameters
    ----------
    source
        What has the columns.
    groups
        Columns that are equally likely to be meant, the likeliest first.
    what, flag, where
        What they hold, the option that names one, and the source, for the refusal.

    Raises
    ------
    InputError
        If several columns are equally likely.
    """
    for group in groups:
        if len(group) > 1:
            listed = ", ".join(f"{name} ({told_of(source, name)})" for name in group)
            raise InputError(
                f"{what}s may be in several columns: {listed}",
                where=where,
                remedy=f"name one of them with {flag}",
            )
        if group:
            return group[0]
    return None


def told_of(source: Source, column: str) -> str:
    """Return what a line calls a column."""
    known = source.columns().get(column)
    return (known.told if known else "") or f"column {column}"


def _text(value: Any, row: int, what: str, where: str) -> str | None:
    try:
        return as_label(value)
    except ValueError as error:
        raise InputError(
            f"row {row} holds {error}, which is no {what}",
            where=where,
            remedy="name a column with one text or whole number a sample"
            + (", or give a CSV" if what == "label" else ""),
        ) from error
