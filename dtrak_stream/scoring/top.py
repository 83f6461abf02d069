"""Running lists of the strongest training samples of each query."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EMPTY = -1

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
        beside = np.broadcast_to(np.float32(np.nan), scores.shape) if errors is None else errors
        for query, (row, places, error) in enumerate(
            zip(scores, np.broadcast_to(index, scores.shape), beside, strict=True)
        ):
            self._update_query(query, row, places, error)

    def listed(self) -> tuple[Indices, Scores]:
        """Return (Q, count) indices and scores, best first; -1 and NaN where there are no more."""
        return self.index, np.where(self.index == EMPTY, np.float32(np.nan), self.scores)

    def _update_query(self, query: int, row: Scores, index: Indices, error: Scores) -> None:
        count = self.scores.shape[1]
        better = np.flatnonzero(row > self.scores[query, -1])
        if len(better) > count:  # keep all that can still be listed, ties included
            least = np.partition(row[better], -count)[-count]
            better = better[row[better] >= least]
        scores = np.concatenate([self.scores[query], row[better]])
        indices = np.concatenate([self.index[query], index[better]])
        errors = np.concatenate([self.errors[query], error[better]])
        order = np.argsort(-scores, kind="stable")[:count]
        self.scores[query], self.index[query] = scores[order], indices[order]
        self.errors[query] = errors[order]
