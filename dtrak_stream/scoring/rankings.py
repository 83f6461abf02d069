"""One finished block of scores: its lists, and joining the lists of several blocks."""

from __future__ import annotations

import numpy as np

from dtrak_stream.scoring.sums import Part
from dtrak_stream.scoring.top import RunningTop
from dtrak_stream.store.shard import FloatArray

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
