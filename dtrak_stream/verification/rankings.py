"""Checking what a scores file holds for one query: rankings, scores, error bars, groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.groups.lists import GroupLists
from dtrak_stream.scoring.scores_file import Ranked, ScoresFile
from dtrak_stream.scoring.scores_layout import Side

SCORE_AGAIN = "move it away and run dtrak-stream score again"
"""What to do about a scores file that is not whole."""

Usable = dict[Side, NDArray[np.bool_]]
"""Which samples of each side must have scores: (N,) and (Q,)."""


def verify_query(scores: ScoresFile, groups: GroupLists, query: int, usable: Usable) -> None:
    """Check all that stands there for one query.

    Raises
    ------
    CorruptFileError
        Naming the query, and what contradicts what.
    """
    top, bottom = (end(query, scores.top_k) for end in (scores.top, scores.bottom))
    expected = usable["train"].sum() if usable["query"][query] else 0
    length = min(scores.top_k, int(expected))
    if not len(top) == len(bottom) == length:
        raise _damaged(scores, query, f"has lists of {len(top)} and {len(bottom)}, not {length}")
    for ranked, sign in ((top, -1), (bottom, 1)):
        values = [sign * entry.score for entry in ranked]
        if values != sorted(values) or len({entry.index for entry in ranked}) < len(ranked):
            raise _damaged(scores, query, "has a ranking that is out of order")
    if any(not usable["train"][entry.index] for entry in (*top, *bottom)):
        raise _damaged(scores, query, "ranks a quarantined training sample")
    if scores.has_all_scores:
        _verify_row(scores, query, top, bottom, usable)
    if scores.has_errors:
        _verify_errors(scores, query, top, bottom)
    _verify_groups(scores, groups, query)


def _verify_row(
    scores: ScoresFile, query: int, top: list[Ranked], bottom: list[Ranked], usable: Usable
) -> None:
    row = scores.scores(query)
    wanted = usable["train"] & usable["query"][query]
    if (np.isfinite(row) != wanted).any():
        place = int(np.flatnonzero(np.isfinite(row) != wanted)[0])
        state = "no score" if wanted[place] else "a score though it is quarantined"
        raise _damaged(scores, query, f"has {state} for training sample {place}")
    if any(row[entry.index] != np.float32(entry.score) for entry in (*top, *bottom)):
        raise _damaged(scores, query, "has a ranking that contradicts its scores")
    if top and np.nanmax(row) != np.float32(top[0].score):
        raise _damaged(scores, query, "has a score above the top of its ranking")
    if bottom and np.nanmin(row) != np.float32(bottom[0].score):
        raise _damaged(scores, query, "has a score below the bottom of its ranking")


def _verify_errors(scores: ScoresFile, query: int, top: list[Ranked], bottom: list[Ranked]) -> None:
    row = scores.errors(query) if scores.has_all_scores else None
    if row is not None:
        bad = np.isfinite(scores.scores(query)) & ~_is_error(row)
        if bad.any():
            place = int(np.flatnonzero(bad)[0])
            what = f"has the error bar {row[place]} for training sample {place}"
            raise _damaged(scores, query, what)
    for listed, errors in (
        (top, scores.ranked_errors("top", query)),
        (bottom, scores.ranked_errors("bottom", query)),
    ):
        beside = errors[: len(listed)]
        if not _is_error(beside).all():
            raise _damaged(scores, query, "has a ranked score without an error bar")
        if row is not None and (row[[entry.index for entry in listed]] != beside).any():
            raise _damaged(scores, query, "has error bars that contradict its ranking")


def _is_error(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which values can be standard errors: finite, and not negative."""
    usable: NDArray[np.bool_] = np.isfinite(values) & (values >= 0)
    return usable


def _verify_groups(scores: ScoresFile, groups: GroupLists, query: int) -> None:
    for ranked, sign in (
        (groups.ranked("top", query, groups.count), -1),
        (groups.ranked("bottom", query, groups.count), 1),
    ):
        values = [sign * (one.mean if groups.rank == "mean" else one.total) for one in ranked]
        if not np.isfinite(values).all():
            raise _damaged(scores, query, "ranks a group whose sum is not a number")
        if values != sorted(values) or len({one.name for one in ranked}) < len(ranked):
            raise _damaged(scores, query, "has a ranking of groups that is out of order")


def _damaged(scores: ScoresFile, query: int, what: str) -> CorruptFileError:
    of_list = "" if scores.root_name == "/" else f" ({scores.root_name.strip('/')})"
    return CorruptFileError(f"query {query}{of_list} {what}", where=scores.path, remedy=SCORE_AGAIN)
