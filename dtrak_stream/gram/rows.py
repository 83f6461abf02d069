"""A Gram matrix in its file, read in blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dtrak_stream.gram.file import damaged_gram, opened_gram
from dtrak_stream.gram.plan import GramForm
from dtrak_stream.gram.products import Matrix

ROW_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class GramRows:
    """The (d, d) matrix of a Gram file, never in memory as a whole unless asked for.

    Attributes
    ----------
    path
        The file.
    size
        d.
    form
        Primal, Phi^T Phi, or dual, Phi Phi^T.
    """

    path: Path
    size: int
    form: GramForm

    @classmethod
    def open(cls, path: Path) -> GramRows:
        """Look at a file; raises as `read_gram`."""
        with opened_gram(path) as file:
            return cls(path, int(file["gram"].shape[0]), file.attrs["form"])

    @property
    def rows_at_a_time(self) -> int:
        """Return how many rows `blocks` gives at a time."""
        return max(1, min(self.size, ROW_BLOCK_BYTES // (8 * max(1, self.size))))

    def rows(self, rows: range) -> Matrix:
        """Return consecutive rows: (len(rows), d) float64.

        Raises
        ------
        CorruptFileError
            If the file cannot be read, or they hold NaN or inf.
        """
        with opened_gram(self.path) as file:
            return self._checked(file, rows)

    def blocks(self) -> Iterator[tuple[range, Matrix]]:
        """Yield (rows, (len(rows), d) float64), in order, all rows once."""
        with opened_gram(self.path) as file:
            for start in range(0, self.size, self.rows_at_a_time):
                rows = range(start, min(start + self.rows_at_a_time, self.size))
                yield rows, self._checked(file, rows)

    def _checked(self, file: Any, rows: range) -> Matrix:
        block: Matrix = file["gram"][rows.start : rows.stop]
        if not np.isfinite(block).all():
            raise damaged_gram(self.path, "holds NaN or inf")
        return block

    def matrix(self) -> Matrix:
        """Return the whole matrix: (d, d) float64; no memory is needed beside it but a block."""
        whole = np.empty((self.size, self.size))
        for rows, block in self.blocks():
            whole[rows.start : rows.stop] = block
        return whole
