"""A symmetric matrix that is read in blocks of rows, in memory or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


class BlockedMatrix(Protocol):
    """A (d, d) symmetric float64 matrix that gives consecutive rows at a time."""

    @property
    def size(self) -> int:
        """Return d."""

    def blocks(self) -> Iterator[tuple[range, Matrix]]:
        """Yield (rows, (len(rows), d) float64), in order, all rows once."""


@dataclass(frozen=True)
class MatrixInMemory:
    """A matrix that is in memory as a whole.

    Attributes
    ----------
    matrix
        (d, d) float64, symmetric.
    """

    matrix: Matrix

    @property
    def size(self) -> int:
        """Return d."""
        return len(self.matrix)

    def blocks(self) -> Iterator[tuple[range, Matrix]]:
        """Yield all rows as one block."""
        yield range(self.size), self.matrix


@dataclass(frozen=True)
class Moments:
    """Sums over a symmetric matrix that are sums over its eigenvalues w.

    Attributes
    ----------
    trace
        sum w.
    square_sum
        sum w**2, the sum of the squares of all entries.
    """

    trace: float
    square_sum: float


def moments_of(matrix: BlockedMatrix) -> Moments:
    """Return the moments of a matrix, in one pass over its rows."""
    trace = square_sum = 0.0
    for rows, block in matrix.blocks():
        trace += float(block[np.arange(len(rows)), np.arange(rows.start, rows.stop)].sum())
        square_sum += sum(float(row @ row) for row in block)
    return Moments(trace, square_sum)


def product(matrix: BlockedMatrix, vectors: Matrix) -> Matrix:
    """Return matrix @ vectors, in one pass over its rows: (d, d) @ (d, m) -> (d, m)."""
    out = np.empty_like(vectors)
    for rows, block in matrix.blocks():
        np.matmul(block, vectors, out=out[rows.start : rows.stop])
    return out
