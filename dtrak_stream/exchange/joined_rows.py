"""Several mapped arrays of rows, one after the other, read as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Part(NamedTuple):
    """One file of rows."""

    path: Path
    """The file."""
    rows: NDArray[Any]
    """(n, Z) float array, mapped."""


class JoinedRows:
    """The rows of some files, (M, Z), numbered through all of them.

    Parameters
    ----------
    parts
        At least one, all with the same number of columns and the same type.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = tuple(parts)
        counts = [len(part.rows) for part in parts]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)  # (parts + 1,)
        self.shape = (int(self._starts[-1]), parts[0].rows.shape[1])
        self.dtype = parts[0].rows.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def block(self, start: int, stop: int, columns: int) -> NDArray[Any]:
        """Return rows [start, stop), their first columns: (stop - start, columns)."""
        pieces = [
            part.rows[max(start - first, 0) : stop - first, :columns]
            for part, first in zip(self._parts, self._starts.tolist(), strict=False)
            if first < stop and start < first + len(part.rows)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def at(self, rows: NDArray[np.integer[Any]], columns: int) -> NDArray[Any]:
        """Return some rows in any order, their first columns: (len(rows), columns)."""
        if len(self._parts) == 1:
            return np.asarray(self._parts[0].rows[rows, :columns])
        found = np.empty((len(rows), columns), self.dtype)
        owners = self._owner(rows)
        for number in np.unique(owners):
            mine = owners == number
            inside = rows[mine] - self._starts[number]
            found[mine] = self._parts[number].rows[inside, :columns]
        return found

    def place(self, row: int) -> tuple[Path, int]:
        """Return the file that a row lies in, and its number there."""
        owner = int(self._owner(np.array([row]))[0])
        return self._parts[owner].path, row - int(self._starts[owner])

    def _owner(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Return the number of the part that each row lies in, (n,)."""
        return np.searchsorted(self._starts, rows, side="right") - 1
