"""What scores are multiplied with, sample by sample: the normalisations of the methods table.

With K = Phi^T Phi + lambda I, in primal form phi_n is solved for: ||K^-1 phi_n|| and
h_n = phi_n^T K^-1 phi_n follow. In dual form, with G = Phi Phi^T, A = (G + lambda I)^-1, and e_n
the n-th unit vector, h_n = e_n^T A G e_n and ||K^-1 phi_n||^2 = e_n^T A G A e_n, which is
(A e_n) . (A G e_n): two solves, and no difference of nearly equal numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.gram import GramRows
from dtrak_stream.kernel import DampedKernel, Matrix
from dtrak_stream.methods import Normalisation
from dtrak_stream.scoring.residuals import residuals
from dtrak_stream.store import FeatureStore
from dtrak_stream.store.shard import FloatArray

ROWS_AT_A_TIME = 256


def inverse_lengths(features: FloatArray) -> Matrix:
    """Return 1 / |phi| of each row: (n, k) -> (n,) float64; 0 for a row of zeros."""
    return _inverse(_lengths(features.astype(np.float64)))


@dataclass(frozen=True)
class TrainFactors:
    """What the scores of each training sample are multiplied with.

    Attributes
    ----------
    normalisation
        Which, from the methods table.
    train
        Features of the training samples.
    kernel
        (G + lambda I)^-1; None for a method without.
    gram
        Its Gram matrix on disk.
    """

    normalisation: Normalisation
    train: FeatureStore
    kernel: DampedKernel | None
    gram: GramRows | None

    def of_rows(self, rows: range) -> Matrix:
        """Return the factors of consecutive rows: (L, len(rows)) for L lambdas."""
        if self.normalisation == "none":
            return np.ones((1, len(rows)))
        if self.normalisation in ("cosine", "renorm"):
            return self._joined(rows, lambda part: inverse_lengths(self.train.rows(part))[None])
        if self.normalisation == "relative-if":
            return self._joined(rows, lambda part: _inverse(self._solved_lengths(part)))
        return self._joined(rows, self._leverage_factors)

    def _joined(self, rows: range, of_part: Callable[[range], Matrix]) -> Matrix:
        return np.concatenate([of_part(part) for part in _cut(rows)], axis=1)

    def _solved_lengths(self, rows: range) -> Matrix:
        """Return ||K^-1 phi_n||: (L, n)."""
        kernel, gram = self._kernel_and_gram()
        if gram.form == "primal":
            solved = kernel.solve(self.train.rows(rows))  # (L, n, k)
            return _lengths(solved)
        units = np.zeros((len(rows), gram.size))
        units[np.arange(len(rows)), np.arange(rows.start, rows.stop)] = 1.0
        squares = np.einsum("lnm,lnm->ln", kernel.solve(units), kernel.solve(gram.rows(rows)))
        lengths: Matrix = np.sqrt(np.clip(squares, 0.0, None))
        return lengths

    def leverages(self, rows: range) -> Matrix:
        """Return h_n = phi_n^T K^-1 phi_n of consecutive rows: (L, n)."""
        kernel, gram = self._kernel_and_gram()
        if gram.form == "primal":
            features = self.train.rows(rows)
            leverages: Matrix = np.einsum("lnk,nk->ln", kernel.solve(features), features)
            return leverages
        solved = kernel.solve(gram.rows(rows))  # (L, n, N)
        return solved[:, np.arange(len(rows)), np.arange(rows.start, rows.stop)]

    def _leverage_factors(self, rows: range) -> Matrix:
        leverages = self.leverages(rows)
        if not (leverages < 1).all():
            raise ConfigurationError(
                f"the leverage of a training sample is {leverages.max():.6g}, not below 1",
                where="damping",
                remedy="float32 features do not resolve so small a damping: use a larger one",
            )
        return self._residuals[rows.start : rows.stop] / (1 - leverages)

    @cached_property
    def _residuals(self) -> FloatArray:
        return residuals(self.train)

    def _kernel_and_gram(self) -> tuple[DampedKernel, GramRows]:
        if self.kernel is None or self.gram is None:
            raise TypeError(f"{self.normalisation} is of methods with a kernel")
        return self.kernel, self.gram


def _lengths(rows: Matrix) -> Matrix:
    """Return the Euclidean length of rows: (..., k) -> (...)."""
    lengths: Matrix = np.sqrt(np.einsum("...k,...k->...", rows, rows))
    return lengths


def _inverse(lengths: Matrix) -> Matrix:
    # the score of a feature of zeros is zero, whatever it is divided by
    return np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)


def _cut(rows: range) -> Iterator[range]:
    for start in range(rows.start, rows.stop, ROWS_AT_A_TIME):
        yield range(start, min(start + ROWS_AT_A_TIME, rows.stop))
