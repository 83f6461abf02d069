"""What a score must exceed to be listed: most of a block need only be compared with that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dtrak_stream.scoring.running_top import EMPTY, ENDS, MOST_CANDIDATES, Indices, Scores


@dataclass(frozen=True)
class StandOut:
    """Scores of a block that may be listed, as `RunningTop.update` takes them.

    Attributes
    ----------
    scores
        (Q, m), the larger the better; -inf where there are no more.
    index
        (m,), or (Q, m): whose they are.
    errors
        (Q, m), their standard errors, or None.
    """

    scores: Scores
    index: Indices
    errors: Scores | None


class ListFloors:
    """The strongest scores of blocks that come in the order of their rows, for both ends.

    Of scores that are equal, those of earlier rows are listed: a later one must exceed the least
    that is.

    Parameters
    ----------
    lambdas, queries
        L and Q.
    count
        Length of each list.
    """

    def __init__(self, lambdas: int, queries: int, count: int) -> None:
        self.count = count
        self._best = {end: np.full((lambdas, queries, count), -np.inf, np.float32) for end in ENDS}

    def stand_out(
        self,
        end: str,
        each: int,
        scores: Scores,
        columns: range,
        errors: Scores | None,
    ) -> StandOut:
        """Return what may be listed of a block by one lambda.

        Parameters
        ----------
        end, each
            Which end, and which lambda.
        scores, errors
            (Q, n), NaN where there is none; errors may be None.
        columns
            Training rows they are of.
        """
        sign, listed = ENDS[end], MOST_CANDIDATES * self.count
        floor = sign * self._best[end][each].min(axis=1)[:, None]
        above = scores > floor if sign > 0 else scores < floor
        if np.count_nonzero(above) <= listed * len(scores):
            queries, places = np.divmod(np.flatnonzero(above), max(1, scores.shape[1]))
            counts = np.bincount(queries, minlength=len(scores))
            if counts.max() <= listed:
                return _side_by_side(queries, places, counts, sign, scores, columns, errors)
        # of a first block, or many ties
        return StandOut(sign * scores, np.arange(columns.start, columns.stop), errors)

    def take_in(self, end: str, scores: Scores) -> None:
        """Take in the strongest (L, Q, m) of a block, -inf where there are no more."""
        together = np.concatenate([self._best[end], scores], axis=2)
        least = scores.shape[2]
        self._best[end] = np.partition(together, least, axis=2)[:, :, least:]


def _side_by_side(
    queries: Indices,
    places: Indices,
    counts: Indices,
    sign: int,
    scores: Scores,
    columns: range,
    errors: Scores | None,
) -> StandOut:
    """Return scores[queries, places], in the order of queries and places; `counts` (Q,)."""
    slots = queries, np.arange(len(queries)) - (np.cumsum(counts) - counts)[queries]
    size = len(scores), int(counts.max())
    found, index = np.full(size, -np.inf, np.float32), np.full(size, EMPTY, np.int64)
    found[slots], index[slots] = sign * scores[queries, places], columns.start + places
    if errors is None:
        return StandOut(found, index, None)
    beside = np.full(size, np.nan, np.float32)
    beside[slots] = errors[queries, places]
    return StandOut(found, index, beside)
