"""Sets of rows of a store: the rows that were removed from it, as numbers and as text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RowSet:
    """Rows, each once.

    Attributes
    ----------
    rows
        (n,) int64 in ascending order.
    """

    rows: Rows

    @classmethod
    def of(cls, rows: Iterable[int]) -> RowSet:
        """Return the set of these rows, in any order, each any number of times."""
        array = rows if isinstance(rows, np.ndarray) else np.fromiter(rows, np.int64)
        return cls(np.unique(array.astype(np.int64, copy=False)))

    @classmethod
    def of_text(cls, text: str, stop: int) -> RowSet:
        """Return the set that `text` wrote, of rows before row `stop`.

        Raises
        ------
        ValueError
            If the text is of no such set.
        """
        parts = [part.partition("-") for part in text.split(",")] if text else []
        ends = [(int(first), int(last or first)) for first, _, last in parts]
        if any(not 0 <= first <= last < stop for first, last in ends):
            raise ValueError(f"not rows before {stop} ({text[:40]})")
        found = cls.of(np.concatenate([np.arange(a, b + 1) for a, b in ends] or [_none()]))
        if found.text() != text:
            raise ValueError(f"not rows in ascending order ({text[:40]})")
        return found

    def text(self) -> str:
        """Return the rows in ascending order, those that follow each other as `first-last`."""
        return ",".join(f"{a}-{b}" if a != b else str(a) for a, b in self.stretches())

    def stretches(self) -> list[tuple[int, int]]:
        """Return the first and the last row of each stretch of rows that follow each other."""
        if not len(self.rows):
            return []
        cuts = np.flatnonzero(np.diff(self.rows) != 1)
        first = self.rows[np.concatenate([[0], cuts + 1])]
        last = self.rows[np.concatenate([cuts, [len(self.rows) - 1]])]
        return list(zip(first.tolist(), last.tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.rows)

    def __or__(self, other: RowSet) -> RowSet:
        """Return the rows of either set."""
        return RowSet(np.union1d(self.rows, other.rows))

    def __sub__(self, other: RowSet) -> RowSet:
        """Return the rows of this set that are not in the other."""
        return RowSet(np.setdiff1d(self.rows, other.rows, assume_unique=True))

    def within(self, rows: range) -> Rows:
        """Return those among consecutive rows: (n,) int64."""
        first, last = np.searchsorted(self.rows, (rows.start, rows.stop))
        return self.rows[first:last]


def _none() -> Rows:
    return np.empty(0, np.int64)


NO_ROWS = RowSet(_none())
