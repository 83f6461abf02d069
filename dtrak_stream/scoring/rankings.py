"""The strongest training samples of each query: of one block, and joined over several."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.scoring.sums import Part
from dtrak_stream.store.shard import FloatArray

EMPTY = -1
_COLUMNS_PER_ENTRY = 5
"""Where the best of many scores are looked for, they are folded into so many columns for each."""
_MOST_CANDIDATES = 4
"""More of them than this for each entry of a list are ties, which are taken in by themselves."""

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
        tied = counts > _MOST_CANDIDATES * self.scores.shape[1]
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


ENDS = {"top": 1, "bottom": -1}
"""Both ends of a ranking, and the sign that makes it a list of the largest."""


def ranked_part(
    scores: FloatArray,
    errors: FloatArray | None,
    columns: range,
    top_k: int,
    *,
    save_scores: bool,
) -> Part:
    """Return what is kept of a block of scores.

    Parameters
    ----------
    scores
        (L, Q, n), NaN where there is none.
    errors
        (L, Q, n), their standard errors; None without error bars.
    columns
        Training rows the n scores are of.
    top_k
        Length of the lists.
    save_scores
        Whether all scores are kept, or the lists only.

    Returns
    -------
    dict
        By name: `top_index`, `top_score`, `bottom_index`, `bottom_score` (L, Q, top_k), with
        `..._error` if there are errors; `scores` and `score_error` (L, Q, n) if kept.
    """
    index = np.arange(columns.start, columns.stop)
    part: Part = {}
    for end, sign in ENDS.items():
        tops = [RunningTop(len(each), top_k) for each in scores]
        for each, top in enumerate(tops):
            top.update(sign * scores[each], index, None if errors is None else errors[each])
        part |= _lists(end, tops, with_errors=errors is not None)
    if save_scores:
        part["scores"] = scores
        if errors is not None:
            part["score_error"] = errors
    return part


class JoinedLists:
    """The lists of one lambda over blocks that come in the order of their rows."""

    def __init__(self) -> None:
        self._lists: dict[str, RunningTop] = {}
        self._with_errors = False

    def add(self, part: Part, each: int) -> None:
        """Take in what `ranked_part` returned, for one of its lambdas."""
        self._with_errors = "top_score_error" in part
        for end in ENDS:
            scores, error = part[f"{end}_score"][each], part.get(f"{end}_score_error")
            top = self._lists.setdefault(end, RunningTop(*scores.shape))
            top.update(scores, part[f"{end}_index"][each], None if error is None else error[each])

    def arrays(self) -> Part:
        """Return the lists: `top_index` (Q, top_k) int64 and the others of `ranked_part`.

        They hold -1 and NaN where there are no more samples.
        """
        joined: Part = {}
        for end, sign in ENDS.items():
            top = self._lists[end]
            joined[f"{end}_index"], scores = top.listed()
            joined[f"{end}_score"] = sign * scores
            if self._with_errors:
                joined[f"{end}_score_error"] = top.errors
        return joined


def _lists(end: str, tops: list[RunningTop], *, with_errors: bool) -> Part:
    lists: Part = {
        f"{end}_index": np.stack([top.index for top in tops]),
        f"{end}_score": np.stack([top.scores for top in tops]),
    }
    if with_errors:
        lists[f"{end}_score_error"] = np.stack([top.errors for top in tops])
    return lists
