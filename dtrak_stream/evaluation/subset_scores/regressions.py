"""The two ways from masks and losses to scores: each yields blocks of score columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from sklearn.linear_model import LassoCV
from sklearn.model_selection import KFold

from dtrak_stream.errors import MemoryLimitError
from dtrak_stream.evaluation.subset_scores.configuration import SubsetScoreConfig
from dtrak_stream.support.memory import format_enough, parse_size
from dtrak_stream.support.progress import progress

BLOCK_COLUMNS = 4096
_LASSO_ITERATIONS = 10_000
Matrix = NDArray[np.float64]


class ColumnScores(Protocol):
    """Scores of training images, some columns at a time."""

    def of_columns(self, columns: slice, members: Matrix) -> Matrix:
        """Return the scores (Q, n) of images whose part of the mask is `members` (M, n)."""


class EmpiricalInfluence:
    """Mean loss of the subsets without a sample less that of the subsets with it.

    The loss is a mean over models, so this is minus the empirical influence on the loss of Feldman
    and Zhang 2020: positive where the sample lowers it. Parameters: losses (M, Q).
    """

    def __init__(self, losses: Matrix) -> None:
        self._losses = losses

    def of_columns(self, columns: slice, members: Matrix) -> Matrix:  # noqa: ARG002
        """Return the scores (Q, n) of images whose part of the mask is `members` (M, n)."""
        having = members.sum(axis=0)  # (n,)
        lacking = len(members) - having
        with_it = self._losses.T @ members / np.maximum(having, 1)  # (Q, M) @ (M, n)
        without = self._losses.T @ (1 - members) / np.maximum(lacking, 1)
        return np.asarray(without - with_it, dtype=np.float64)


class RidgeDatamodel:
    """Minus the coefficients of a ridge regression of the losses on the mask.

    Ilyas et al. 2022; the loss falls where the coefficient is negative. Parameters: the mask
    (M, N), the losses (M, Q) and the options.
    """

    def __init__(self, mask: NDArray[Any], losses: Matrix, config: SubsetScoreConfig) -> None:
        products = np.zeros((len(mask), len(mask)))
        for columns in column_blocks(mask.shape[1]):
            members = mask[:, columns].astype(np.float64)
            products += members @ members.T  # (M, n) @ (n, M)
        self._fit = fit_ridge(products, losses, np.array(config.penalties), config.folds)

    def of_columns(self, columns: slice, members: Matrix) -> Matrix:  # noqa: ARG002
        """Return the scores (Q, n) of images whose part of the mask is `members` (M, n)."""
        return -self._fit.coefficients(members)


class LassoDatamodel:
    """Minus the coefficients of a lasso regression of the losses on the mask, query by query.

    Parameters: the mask (M, N), the losses (M, Q) and the options.

    Raises
    ------
    MemoryLimitError
        If the mask in float64, its copies and the coefficients do not fit.
    """

    def __init__(self, mask: NDArray[Any], losses: Matrix, config: SubsetScoreConfig) -> None:
        _refuse_without_memory(mask, losses, config)
        members = np.asfortranarray(mask, dtype=np.float64)
        self._scores = np.empty((losses.shape[1], mask.shape[1]))
        visible = not config.quiet
        with progress(losses.shape[1], description="lasso", unit="query", visible=visible) as bar:
            for query, loss in enumerate(losses.T):
                fitted = LassoCV(cv=config.folds, max_iter=_LASSO_ITERATIONS).fit(members, loss)
                self._scores[query] = -fitted.coef_
                bar.update()

    def of_columns(self, columns: slice, members: Matrix) -> Matrix:  # noqa: ARG002
        """Return the scores (Q, n) of images whose part of the mask is `members` (M, n)."""
        scores: Matrix = self._scores[:, columns]
        return scores


def fitted_scores(mask: NDArray[Any], losses: Matrix, config: SubsetScoreConfig) -> ColumnScores:
    """Fit what the options ask for to a mask (M, N) and finite losses (M, Q)."""
    if config.method == "empirical-influence":
        return EmpiricalInfluence(losses)
    model = RidgeDatamodel if config.penalty == "ridge" else LassoDatamodel
    return model(mask, losses, config)


def column_blocks(count: int) -> Iterator[slice]:
    """Yield slices of bounded size that cover `count` columns."""
    for first in range(0, count, BLOCK_COLUMNS):
        yield slice(first, min(first + BLOCK_COLUMNS, count))


def _refuse_without_memory(mask: NDArray[Any], losses: Matrix, config: SubsetScoreConfig) -> None:
    # the lasso copies and centres the part of the mask that each fold keeps
    needed = 8 * mask.shape[1] * (3 * len(mask) + losses.shape[1])
    if needed > parse_size(config.memory_limit, flag="--memory-limit"):
        raise MemoryLimitError(
            f"the lasso on {len(mask)} subsets of {mask.shape[1]:,} images needs "
            f"{format_enough(needed)}",
            where=f"--memory-limit {config.memory_limit}",
            remedy="allow that, or use --penalty ridge, whose memory does not depend on the images",
        )


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
