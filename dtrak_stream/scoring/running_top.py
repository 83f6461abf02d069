"""The largest of many scores of each query, as they come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EMPTY = -1
_COLUMNS_PER_ENTRY = 5
"""Where the best of many scores are looked for, they are folded into so many columns for each."""
MOST_CANDIDATES = 4
"""More of them than this for each entry of a list are ties, which are taken in by themselves."""

ENDS = {"top": 1, "bottom": -1}
"""Both ends of a ranking, and the sign that makes it a list of the largest."""

Scores = NDArray[np.float32]
Indices = NDArray[np.int64]


class RunningTop:
    """The `count` largest scores of each query seen so far, ties won by the lower index.

    The result does not depend on how the scores are cut into blocks, as long as
    blocks come in the order of their indices. NaN is never listed.

    Parameters
    ----------
    queries
        Q.
    count
        Length of each list.
    """

    def __init__(self, queries: int, count: int) -> None:
        self.scores: Scores = np.full((queries, count), -np.inf, np.float32)
        self.index: Indices = np.full((queries, count), EMPTY, np.int64)
        self.errors: Scores = np.full((queries, count), np.nan, np.float32)

    def update(self, scores: Scores, index: Indices, errors: Scores | None = None) -> None:
        """Take in more scores.

        Parameters
        ----------
        scores
            (Q, n).
        index
            (n,), or (Q, n): whose scores they are. Of equal scores, lower indices come first.
        errors
            (Q, n): their standard errors, to be listed beside them.
        """
        candidates = np.flatnonzero(scores >= self._least_listed(scores)[:, None])
        queries, places = np.divmod(candidates, max(1, scores.shape[1]))
        counts = np.bincount(queries, minlength=len(scores))
        index = np.broadcast_to(index, scores.shape)
        tied = counts > MOST_CANDIDATES * self.scores.shape[1]
        for query in map(int, np.flatnonzero(tied)):
            error = None if errors is None else errors[query]
            self._update_query(query, scores[query], index[query], error)
        few = ~tied[queries]
        self._merge(queries[few], places[few], np.where(tied, 0, counts), scores, index, errors)

    def _least_listed(self, scores: Scores) -> Scores:
        """Return a bound (Q,): scores that are still to be listed are at least as large."""
        floor = self.scores[:, -1]
        least = np.nextafter(floor, np.float32(np.inf))  # an equal one has a higher index
        count, number = self.scores.shape[1], scores.shape[1]
        columns = _COLUMNS_PER_ENTRY * count
        if number < 2 * columns:
            return least
        # so many columns as `count` have a largest score each that is at least their smallest
        rows = number // columns
        folded = scores[:, : rows * columns].reshape(len(scores), rows, columns)
        largest = np.fmax.reduce(folded, axis=1)
        largest[np.isnan(largest)] = -np.inf
        bound: Scores = np.maximum(least, np.partition(largest, -count, axis=1)[:, -count])
        return bound

    def _merge(
        self,
        queries: Indices,
        places: Indices,
        counts: Indices,
        scores: Scores,
        index: Indices,
        errors: Scores | None,
    ) -> None:
        """Take in scores[queries, places], in the order of queries and places; `counts` (Q,)."""
        if not len(queries):
            return
        behind = np.cumsum(counts) - counts
        slots = queries, np.arange(len(queries)) - behind[queries]
        size = len(scores), int(counts.max())
        new_scores, new_index = np.full(size, -np.inf, np.float32), np.full(size, EMPTY, np.int64)
        new_scores[slots], new_index[slots] = scores[queries, places], index[queries, places]
        together = np.concatenate([self.scores, new_scores], axis=1)
        order = np.argsort(-together, axis=1, kind="stable")[:, : self.scores.shape[1]]
        self.scores = np.take_along_axis(together, order, axis=1)
        both = np.concatenate([self.index, new_index], axis=1)
        self.index = np.take_along_axis(both, order, axis=1)
        if errors is not None:
            new_errors = np.full(size, np.nan, np.float32)
            new_errors[slots] = errors[queries, places]
            both_errors = np.concatenate([self.errors, new_errors], axis=1)
            self.errors = np.take_along_axis(both_errors, order, axis=1)

    def listed(self) -> tuple[Indices, Scores]:
        """Return (Q, count) indices and scores, best first; -1 and NaN where there are no more."""
        return self.index, np.where(self.index == EMPTY, np.float32(np.nan), self.scores)

    def _update_query(self, query: int, row: Scores, index: Indices, error: Scores | None) -> None:
        """Take in scores of one query, many of which are equal."""
        count = self.scores.shape[1]
        better = np.flatnonzero(row > self.scores[query, -1])
        if len(better) > count:  # keep all that can still be listed, ties included
            least = np.partition(row[better], -count)[-count]
            better = better[row[better] >= least]
        scores = np.concatenate([self.scores[query], row[better]])
        order = np.argsort(-scores, kind="stable")[:count]
        self.scores[query] = scores[order]
        self.index[query] = np.concatenate([self.index[query], index[better]])[order]
        if error is not None:
            self.errors[query] = np.concatenate([self.errors[query], error[better]])[order]
