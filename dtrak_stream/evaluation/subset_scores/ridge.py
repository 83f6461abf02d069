"""Datamodels by ridge regression, in the dual: matrices are subsets by subsets, whatever N is.

The loss of a query is regressed on the mask, with an intercept, and the penalty is chosen for each
query by K-fold cross-validation on R^2: what scikit-learn's RidgeCV(cv=K) does query by query,
here for all queries at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from sklearn.model_selection import KFold

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class DualRidge:
    """Fitted regressions: coefficients are (masks - their mean)^T `weights`.

    Attributes
    ----------
    weights
        (M, Q), each column summing to zero.
    penalties
        (Q,) the penalty chosen for each query.
    """

    weights: Matrix
    penalties: Matrix

    def coefficients(self, members: Matrix) -> Matrix:
        """Return the coefficients of some images: (M, n) of the mask -> (Q, n)."""
        # the weights of a query sum to zero, so the mean of the masks drops out
        return np.ascontiguousarray(self.weights.T @ members)


def fit_ridge(products: Matrix, losses: Matrix, penalties: Matrix, folds: int) -> DualRidge:
    """Fit the regression of every query.

    Parameters
    ----------
    products
        (M, M) mask mask^T.
    losses
        (M, Q), finite.
    penalties
        Strengths to choose from.
    folds
        K, at most M / 2: consecutive parts of the subsets, left out in turn.
    """
    quality = np.zeros((len(penalties), losses.shape[1]))
    for kept, left_out in KFold(folds).split(products):
        quality += _quality(products, losses, penalties, kept, left_out)
    best = quality.argmax(axis=0)  # (Q,)
    everything = np.arange(len(losses))
    weights = np.empty_like(losses)
    for place, penalty in enumerate(penalties):
        queries = best == place
        if queries.any():
            weights[:, queries] = _weights(products, losses[:, queries], penalty, everything)
    return DualRidge(weights, penalties[best])


def _weights(products: Matrix, losses: Matrix, penalty: float, rows: NDArray[np.int64]) -> Matrix:
    """Return (H K H + penalty I)^-1 H y for some rows, with H = I - 1 1^T / m."""
    inner = products[np.ix_(rows, rows)]
    centred = inner - inner.mean(axis=0) - inner.mean(axis=1, keepdims=True) + inner.mean()
    centred[np.diag_indices_from(centred)] += penalty
    known = losses[rows]
    return np.asarray(scipy.linalg.solve(centred, known - known.mean(axis=0), assume_a="pos"))


def _quality(
    products: Matrix,
    losses: Matrix,
    penalties: Matrix,
    kept: NDArray[np.int64],
    left_out: NDArray[np.int64],
) -> Matrix:
    """Return R^2 on the rows left out, for each penalty and query, (P, Q)."""
    outer, inner = products[np.ix_(left_out, kept)], products[np.ix_(kept, kept)]
    outer = outer - inner.mean(
        axis=0
    )  # (x - mean) . x_i; weights sum to zero, so no more is needed
    truth = losses[left_out]
    total = np.square(truth - truth.mean(axis=0)).sum(axis=0)  # (Q,)
    quality = []
    for penalty in penalties:
        predicted = losses[kept].mean(axis=0) + outer @ _weights(products, losses, penalty, kept)
        rest = np.square(truth - predicted).sum(axis=0)
        quality.append(np.where(total > 0, 1 - rest / np.where(total > 0, total, 1), 0.0))
    return np.array(quality)
