"""How the rows of a table say where their images are: in a column, or by a pattern of columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dtrak_stream.data.text_tables import Table
from dtrak_stream.errors import InputError

PATH_COLUMNS = ("path", "file_name", "image", "file")
"""What columns of paths are called."""

_FIELD = re.compile(r"\{([^{}]*)\}")


class RowPaths:
    """Reads the path of each row from a table.

    Parameters
    ----------
    columns
        What there is.
    asked
        A column, or a pattern such as `images/{label}/{name}` that columns are put into; None for
        the column that is called like one of paths.
    where
        The table, for messages.

    Raises
    ------
    InputError
        If there is no such column, or several and none was named.

    Attributes
    ----------
    name
        What paths are read from, for messages.
    columns
        The columns they are read from.
    """

    def __init__(self, columns: Sequence[str], asked: str | None, where: Path) -> None:
        self.name = _chosen(columns, asked, where)
        self._pieces = [self.name] if self.name in columns else _FIELD.split(self.name)
        is_pattern = len(self._pieces) > 1
        self.columns = tuple(self._pieces[1::2]) if is_pattern else (self.name,)
        for column in self.columns:
            if column not in columns:
                raise _refused(f"no column {column!r}", columns, where)

    def of_rows(self, table: Table, start: int, stop: int) -> list[object]:
        """Return the paths of rows `[start, stop)`; None for one of which a part is missing."""
        found = [table.values(column, start, stop) for column in self.columns]
        if len(self._pieces) == 1:
            return found[0]
        return [self._filled(cells) for cells in zip(*found, strict=True)]

    def _filled(self, cells: Sequence[object]) -> str | None:
        if any(cell is None or cell == "" for cell in cells):
            return None
        texts = self._pieces[0::2]
        return "".join(map(str.__add__, texts, [*map(str, cells), ""]))


def _chosen(columns: Sequence[str], asked: str | None, where: Path) -> str:
    if asked is not None and (asked in columns or _FIELD.search(asked)):
        return asked
    usual = [name for name in PATH_COLUMNS if name in columns]
    if asked is not None:
        raise _refused(f"no column {asked!r}", columns, where)
    if len(usual) > 1:
        told = f"several columns could hold the paths ({', '.join(usual)})"
        raise InputError(told, where=where, remedy="name the one to use with --path-column")
    if not usual:
        raise _refused(f"no column of paths ({', '.join(PATH_COLUMNS)})", columns, where)
    return usual[0]


def _refused(what: str, columns: Sequence[str], where: Path) -> InputError:
    return InputError(
        f"{what}; it has {', '.join(columns)}",
        where=where,
        remedy="name the one to use with --path-column, or a pattern such as images/{label}/{name}",
    )


def windows_hint(missing: Sequence[str]) -> str:
    """Return what is to be added of files that are not there, if \\ may be why."""
    has_one = any("\\" in name for name in missing)
    return "; between folders write / instead of \\" * has_one
