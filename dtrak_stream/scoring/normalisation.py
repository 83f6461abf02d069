"""What scores are divided by: the table of normalisations, and what their numbers are made of.

A normalisation is one row of the table. Scoring and its plan read the columns; a method names the
row. With K = Phi^T Phi + lambda I, in primal form phi_n is solved for: ||K^-1 phi_n|| and
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
from dtrak_stream.gram.file import Gram
from dtrak_stream.kernel.matrix import Matrix
from dtrak_stream.kernel.solvers import DampedKernel
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import FloatArray

ROWS_AT_A_TIME = 256


@dataclass(frozen=True)
class TrainingSide:
    """What factors of training samples are computed from.

    Attributes
    ----------
    features
        Features of the training samples.
    kernel
        (G + lambda I)^-1; None for a method without.
    gram
        Its Gram matrix on disk.
    """

    features: FeatureStore
    kernel: DampedKernel | None
    gram: Gram | None

    def lengths(self, rows: range) -> Matrix:
        """Return ||phi_n|| of consecutive rows: (1, n)."""
        return _lengths(self.features.rows(rows).astype(np.float64))[None]

    def solved_lengths(self, rows: range) -> Matrix:
        """Return ||K^-1 phi_n|| of consecutive rows: (L, n)."""
        kernel, gram = self._kernel_and_gram()
        if gram.form == "primal":
            solved = kernel.solve(self.features.rows(rows))  # (L, n, k)
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
            features = self.features.rows(rows)
            leverages: Matrix = np.einsum("lnk,nk->ln", kernel.solve(features), features)
            return leverages
        solved = kernel.solve(gram.rows(rows))  # (L, n, N)
        return solved[:, np.arange(len(rows)), np.arange(rows.start, rows.stop)]

    @cached_property
    def residuals(self) -> FloatArray:
        """Return r_n of every row, the root mean squared error of the prediction: (N,)."""
        return self.features.residuals()

    def _kernel_and_gram(self) -> tuple[DampedKernel, Gram]:
        if self.kernel is None or self.gram is None:
            raise TypeError("a solve for each sample is of methods with a kernel")
        return self.kernel, self.gram


@dataclass(frozen=True)
class Normalisation:
    """One normalisation of scores.

    Attributes
    ----------
    name
        What the methods table calls it.
    of_training
        What the scores of consecutive training rows are multiplied with: (L, n), or (1, n) where
        it does not depend on lambda. None: nothing.
    of_queries
        What the features (Q, k) of queries are multiplied with, row by row: (Q,). None: nothing.
    needs_solves
        Whether it takes a solve with the kernel for every training sample.
    needs_residuals
        Whether it takes the residuals of the training samples.
    """

    name: str
    of_training: Callable[[TrainingSide, range], Matrix] | None = None
    of_queries: Callable[[FloatArray], Matrix] | None = None
    needs_solves: bool = False
    needs_residuals: bool = False

    def factors(self, side: TrainingSide, rows: range) -> Matrix:
        """Return what scores of consecutive training rows are multiplied with: (L or 1, n).

        Raises
        ------
        ConfigurationError
            If float32 features do not resolve them.
        """
        if self.of_training is None:
            return np.ones((1, len(rows)))
        return np.concatenate([self.of_training(side, part) for part in _cut(rows)], axis=1)

    def queries(self, features: FloatArray) -> FloatArray:
        """Return the features (Q, k) of queries that are scored."""
        if self.of_queries is None:
            return features
        scaled: FloatArray = features * self.of_queries(features)[:, None].astype(np.float32)
        return scaled

    def refuse_without_residuals(self, store: FeatureStore, method: str) -> None:
        """Refuse training features that lack the residuals this takes, for the method so called.

        Raises
        ------
        ConfigurationError
            If the gradients were not brought to unit length per timestep, with residuals.
        CorruptFileError
            If a shard has lost them.
        """
        if not self.needs_residuals:
            return
        if not store.fingerprint.has_residuals:
            raise ConfigurationError(
                f"has no residuals and unit-length gradients, which {method} needs",
                where=store.layout.root,
                remedy="make both stores with dtrak-stream featurize --output-function avg "
                "--timestep-weights unit-gradient",
            )
        store.residuals()


def inverse_lengths(features: FloatArray) -> Matrix:
    """Return 1 / |phi| of each row: (n, k) -> (n,) float64; 0 for a row of zeros."""
    return _inverse(_lengths(features.astype(np.float64)))


def _by_length(side: TrainingSide, rows: range) -> Matrix:
    return _inverse(side.lengths(rows))


def _by_solved_length(side: TrainingSide, rows: range) -> Matrix:
    return _inverse(side.solved_lengths(rows))


def _by_leverage(side: TrainingSide, rows: range) -> Matrix:
    leverages = side.leverages(rows)
    if not (leverages < 1).all():
        raise ConfigurationError(
            f"the leverage of a training sample is {leverages.max():.6g}, not below 1",
            where="damping",
            remedy="float32 features do not resolve so small a damping: use a larger one",
        )
    return side.residuals[rows.start : rows.stop] / (1 - leverages)


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


_TABLE = (
    Normalisation("none"),
    Normalisation("cosine", _by_length, inverse_lengths),
    Normalisation("relative-if", _by_solved_length, needs_solves=True),
    Normalisation("renorm", _by_length),
    Normalisation("leverage", _by_leverage, needs_solves=True, needs_residuals=True),
)

NORMALISATIONS: dict[str, Normalisation] = {one.name: one for one in _TABLE}
"""By what scores are divided: cosine, the lengths of both features; relative-if, ||K^-1 phi_n||;
renorm, ||phi_n||; leverage, (1 - h_n) / r_n."""
