"""What theory says about the error of projected inner products, for given unit vectors.

With entries of mean 0 and variance 1 / k, the error of <Px, Py> has mean 0 and, for |x| = |y| = 1,
k times its variance is

- 1 + <x, y>^2 for independent normal entries,
- 1 + <x, y>^2 - 2 sum_i x_i^2 y_i^2 for independent signs,
- 1 + <x, y>^2 - sum_r (|x_r|^2 |y_r|^2 + <x_r, y_r>^2) for the rotation sketch, where x_r is the
  r-th run of k entries: entries of one run never meet in one place. It is never above that of
  signs by this, and below where large entries lie close together.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dtrak_stream.benchmark.projectors.options import ProjectorKind

_COLUMNS_AT_A_TIME = 65_536


def pair_products(vectors: Tensor) -> Tensor:
    """Return <x, y> of all pairs of different rows of (rows, length): (pairs,) float64, CPU."""
    return _pairs(_products(vectors))


def error_variance(projector: ProjectorKind, vectors: Tensor, proj_dim: int) -> Tensor:
    """Return the variance of the error of each pair of unit vectors (rows, p): (pairs,) float64."""
    products = _products(vectors)
    absent = {
        "normal": lambda: torch.zeros_like(products),
        "rademacher": lambda: 2 * _sum_of_squared_products(vectors),
        "sketch": lambda: _within_runs(vectors, proj_dim),
    }[projector]()
    return _pairs((1 + products.square() - absent) / proj_dim)


def _products(vectors: Tensor) -> Tensor:
    """Return x_a . x_b of all rows, summed in float64: (rows, rows)."""
    total = torch.zeros(len(vectors), len(vectors), dtype=torch.float64)
    for columns in _pieces(vectors, _COLUMNS_AT_A_TIME):
        part = columns.double()
        total += (part @ part.T).cpu()
    return total


def _sum_of_squared_products(vectors: Tensor) -> Tensor:
    """Return sum_i x_i^2 y_i^2 of all pairs of rows: (rows, rows) float64."""
    total = torch.zeros(len(vectors), len(vectors), dtype=torch.float64)
    for columns in _pieces(vectors, _COLUMNS_AT_A_TIME):
        part = columns.double().square()
        total += (part @ part.T).cpu()
    return total


def _within_runs(vectors: Tensor, length: int) -> Tensor:
    """Return sum_r (|x_r|^2 |y_r|^2 + <x_r, y_r>^2) over runs of entries: (rows, rows) float64."""
    total = torch.zeros(len(vectors), len(vectors), dtype=torch.float64)
    for columns in _pieces(vectors, length):
        products = _products(columns)
        squares = products.diagonal()
        total += torch.outer(squares, squares) + products.square()
    return total


def _pairs(matrix: Tensor) -> Tensor:
    """Return the entries above the diagonal of (rows, rows): (pairs,)."""
    rows, columns = matrix.shape
    first, second = torch.triu_indices(rows, columns, offset=1)
    return matrix[first, second]


def _pieces(vectors: Tensor, length: int) -> Iterator[Tensor]:
    for start in range(0, vectors.shape[1], length):
        yield vectors[:, start : start + length]
