"""Spearman correlation of columns, with subsets repeated or left out, without sorting anew."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Counts = NDArray[np.int64]


class RankedColumns:
    """Columns whose ranks are wanted for many multisets of their rows.

    Parameters
    ----------
    values
        (M, Q), finite.
    """

    def __init__(self, values: Values) -> None:
        self._order = np.argsort(values, axis=0, kind="stable")  # (M, Q)
        ordered = np.take_along_axis(values, self._order, axis=0)
        begins = np.ones(values.shape, dtype=np.bool_)
        begins[1:] = ordered[1:] != ordered[:-1]
        self._has_ties = not begins.all()
        places = np.arange(len(values))[:, None]
        self._first = np.maximum.accumulate(np.where(begins, places, 0), axis=0)
        ends = np.ones_like(begins)
        ends[:-1] = begins[1:]
        last = np.where(ends, places, len(values))
        self._last = np.minimum.accumulate(last[::-1], axis=0)[::-1]

    def ranks(self, counts: Counts) -> Values:
        """Return the average ranks (M, Q) of the rows, row m occurring `counts[m]` times."""
        occurs = counts[self._order]  # (M, Q)
        until = np.cumsum(occurs, axis=0)
        before = until - occurs
        if self._has_ties:
            before = np.take_along_axis(before, self._first, axis=0)
            until = np.take_along_axis(until, self._last, axis=0)
        ranks = np.empty(occurs.shape)
        np.put_along_axis(ranks, self._order, (before + until + 1) / 2, axis=0)
        return ranks


def spearman(first: RankedColumns, second: RankedColumns, counts: Counts) -> Values:
    """Return the Spearman correlation of each pair of columns, (Q,).

    Parameters
    ----------
    first, second
        Columns over the same M rows.
    counts
        (M,) how often each row occurs: ones for the plain correlation.

    Returns
    -------
    Values
        0 where a column is constant: it says nothing about the other.
    """
    centre = (counts.sum() + 1) / 2  # the mean of average ranks, whatever the ties
    ours, theirs = first.ranks(counts) - centre, second.ranks(counts) - centre

    def summed(products: Values) -> Values:
        total: Values = np.einsum("m,mq->q", counts.astype(np.float64), products)
        return total

    spread = np.sqrt(summed(ours * ours) * summed(theirs * theirs))
    product = summed(ours * theirs)
    return np.divide(product, spread, out=np.zeros_like(product), where=spread > 0)


def plain_spearman(first: Values, second: Values) -> Values:
    """Return the Spearman correlation of each pair of columns of (M, Q) arrays, (Q,)."""
    ones = np.ones(len(first), dtype=np.int64)
    return spearman(RankedColumns(first), RankedColumns(second), ones)


def is_constant(columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which columns of (M, Q) hold one value only, (Q,)."""
    return np.asarray((columns == columns[:1]).all(axis=0), dtype=np.bool_)
