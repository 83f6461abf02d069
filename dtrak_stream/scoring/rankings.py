"""The strongest training samples of each query: of one block, and joined over several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.scoring.list_floors import ListFloors, StandOut
from dtrak_stream.scoring.running_top import EMPTY, ENDS, Indices, RunningTop, Scores
from dtrak_stream.scoring.sums import Part
from dtrak_stream.store.shard import FloatArray


def ranked_part(
    scores: FloatArray,
    errors: FloatArray | None,
    columns: range,
    floors: ListFloors,
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
    floors
        What is listed by the blocks before; it takes this one in.
    save_scores
        Whether all scores are kept, or the lists only.

    Returns
    -------
    dict
        By name: `top_index`, `top_score`, `bottom_index`, `bottom_score` (L, Q, m), with
        `..._error` if there are errors; `scores` and `score_error` (L, Q, n) if kept. The lists
        hold all of the block that is in those over all blocks: m is the length of these at most.
    """
    part: Part = {}
    for end in ENDS:
        tops = [
            _strongest(
                floors.stand_out(end, each, one, columns, None if errors is None else errors[each]),
                floors.count,
            )
            for each, one in enumerate(scores)
        ]
        part |= _lists(end, tops, with_errors=errors is not None)
        floors.take_in(end, part[f"{end}_score"])
    if save_scores:
        part["scores"] = scores
        if errors is not None:
            part["score_error"] = errors
    return part


class JoinedLists:
    """The lists of one lambda over blocks that come in the order of their rows.

    Parameters
    ----------
    count
        Their length.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._lists: dict[str, RunningTop] = {}
        self._waiting: dict[str, list[tuple[Scores, Indices, Scores | None]]] = {}
        self._with_errors = False

    def add(self, part: Part, each: int) -> None:
        """Take in what `ranked_part` returned, for one of its lambdas."""
        self._with_errors = "top_score_error" in part
        for end in ENDS:
            scores, error = part[f"{end}_score"][each], part.get(f"{end}_score_error")
            waiting = self._waiting.setdefault(end, [])
            # many short lists are merged as fast as one long one
            if sum(one.shape[1] for one, _, _ in waiting) + scores.shape[1] > self._count:
                self._merge(end)
            index = part[f"{end}_index"][each]
            waiting.append((scores, index, None if error is None else error[each]))

    def _merge(self, end: str) -> None:
        waiting = self._waiting[end]
        if not waiting:
            return
        scores, index, errors = zip(*waiting, strict=True)
        top = self._lists.setdefault(end, RunningTop(len(scores[0]), self._count))
        error = np.concatenate(errors, axis=1) if self._with_errors else None
        top.update(np.concatenate(scores, axis=1), np.concatenate(index, axis=1), error)
        waiting.clear()

    def arrays(self) -> Part:
        """Return the lists: `top_index` (Q, count) int64 and the others of `ranked_part`.

        They hold -1 and NaN where there are no more samples.
        """
        joined: Part = {}
        for end, sign in ENDS.items():
            self._merge(end)
            top = self._lists[end]
            joined[f"{end}_index"], scores = top.listed()
            joined[f"{end}_score"] = sign * scores
            if self._with_errors:
                joined[f"{end}_score_error"] = top.errors
        return joined


def _strongest(found: StandOut, count: int) -> RunningTop:
    """Return the list of one lambda, no longer than it need be."""
    queries, candidates = found.scores.shape
    top = RunningTop(queries, min(count, max(1, candidates)))
    top.update(found.scores, found.index, found.errors)
    return top


def _lists(end: str, tops: list[RunningTop], *, with_errors: bool) -> Part:
    lists: Part = {
        f"{end}_index": _as_long([top.index for top in tops], EMPTY),
        f"{end}_score": _as_long([top.scores for top in tops], -np.inf),
    }
    if with_errors:
        lists[f"{end}_score_error"] = _as_long([top.errors for top in tops], np.nan)
    return lists


def _as_long(arrays: Sequence[NDArray[Any]], filling: float) -> NDArray[Any]:
    """Return lists (Q, m) of all lambdas as (L, Q, m), each as long as the longest."""
    longest = max(array.shape[1] for array in arrays)
    return np.stack(
        [
            np.pad(array, ((0, 0), (0, longest - array.shape[1])), constant_values=filling)
            for array in arrays
        ]
    )
