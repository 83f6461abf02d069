"""Scores of a block of queries against training samples, in blocks of consecutive rows."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.kernel.solvers import DampedKernel
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import FloatArray


class ScoreBlocks(Protocol):
    """Scores of a block of queries, for each lambda."""

    def of_rows(self, rows: range) -> FloatArray:
        """Return the scores (L, Q, rows) float32 against consecutive training rows."""


class DotProducts:
    """Scores without a kernel: phi_q . phi_n.

    Parameters
    ----------
    queries
        (Q, k) features of the queries.
    train
        Features of the training samples.
    """

    def __init__(self, queries: FloatArray, train: FeatureStore) -> None:
        self._queries, self._train = queries, train

    def of_rows(self, rows: range) -> FloatArray:
        """Return the scores (1, Q, rows) float32 against consecutive training rows."""
        return dot_products(self._queries, self._train, rows)[None]


class PrimalScores:
    """Scores by the (k, k) kernel: queries are preconditioned once, then features stream by.

    Parameters
    ----------
    queries
        (Q, k) features of the queries.
    kernel
        (Phi^T Phi + lambda I)^-1 for L lambdas.
    train
        Features of the training samples.
    """

    def __init__(self, queries: FloatArray, kernel: DampedKernel, train: FeatureStore) -> None:
        self._shape = (kernel.count, len(queries), -1)
        solved = kernel.solve(queries).astype(np.float32)  # (L, Q, k)
        self._preconditioned = solved.reshape(-1, queries.shape[1])  # (L Q, k)
        self._train = train

    def of_rows(self, rows: range) -> FloatArray:
        """Return the scores (L, Q, rows) float32 against consecutive training rows."""
        return dot_products(self._preconditioned, self._train, rows).reshape(self._shape)


class DualScores:
    """Scores by the (N, N) kernel: tau = (Phi_q Phi^T) (Phi Phi^T + lambda I)^-1.

    Equal to the primal score, and smaller when N <= k. Parameters as for `PrimalScores`, with
    kernel (Phi Phi^T + lambda I)^-1.
    """

    def __init__(self, queries: FloatArray, kernel: DampedKernel, train: FeatureStore) -> None:
        products = dot_products(queries, train, range(len(train)))  # (Q, N)
        self._scores: NDArray[np.float64] = kernel.solve(products)  # (L, Q, N)

    def of_rows(self, rows: range) -> FloatArray:
        """Return the scores (L, Q, rows) float32 against consecutive training rows."""
        return self._scores[:, :, rows.start : rows.stop].astype(np.float32)


def dot_products(queries: FloatArray, train: FeatureStore, rows: range) -> FloatArray:
    """Return queries Phi^T for consecutive training rows: (Q, k) @ (k, n) -> (Q, n)."""
    out = np.empty((len(queries), len(rows)), np.float32)
    for part, features in train.blocks_of(rows):
        out[:, part.start - rows.start : part.stop - rows.start] = queries @ features.T
    return out
