"""Summed scores of each subset, streamed from a scores file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.evaluation.lds.estimate import Values
from dtrak_stream.evaluation.truth import TruthFile
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.support.name_index import order_by_name
from dtrak_stream.support.progress import progress

_BLOCK_COLUMNS = 4096
_BLOCK_SCORES = 2**21  # 16 MiB in float64


@dataclass(frozen=True)
class SubsetSums:
    """What the scores of a file add up to.

    Attributes
    ----------
    sums
        (M, Q) sum of the scores of the images in each subset, in the order of the truth's queries.
    unscored_train
        Number of training images whose score is NaN for a query that has others.
    unscored_queries
        (Q,) bool: queries without a single score.
    reordered
        Whether training images or queries stand in another order than in the truth file.
    """

    sums: Values
    unscored_train: int
    unscored_queries: NDArray[np.bool_]
    reordered: bool


def sum_scores(
    scores: ScoresFile, truth: TruthFile, key: str, subsets: slice, *, visible: bool
) -> SubsetSums:
    """Add up the scores of each subset; memory does not depend on N (but for names to sort).

    Training images and queries are matched by their names. A score that is NaN (a quarantined
    sample) adds nothing.

    Raises
    ------
    InputError
        If the file holds rankings alone, or its samples are not those of the truth file.
    CorruptFileError
        If a score is infinite.
    """
    if not scores.has_all_scores:
        raise InputError(
            "holds the rankings alone, not all scores",
            where=scores.path,
            remedy="score again with --save-scores yes",
        )
    columns, queries = _orders(scores, truth, key)
    mask = truth.mask[subsets]  # (M, N), still on disk
    sums = np.zeros((len(mask), scores.query_count))
    scored = np.zeros((2, scores.query_count), dtype=np.int64)  # finite and NaN scores
    unscored_train = 0
    with progress(
        scores.train_count, description="adding up scores", unit="image", visible=visible
    ) as bar:
        for block in _blocks(scores.train_count):
            members = mask[:, block if columns is None else columns[block]].astype(np.float64)
            finite = np.zeros(members.shape[1], dtype=np.bool_)
            for rows, values in _rows(scores, block):
                known = np.isfinite(values)
                scored[0, rows] += known.sum(axis=1)
                finite |= known.any(axis=0)
                sums[:, rows] += members @ np.where(known, values, 0.0).T  # (M, n) @ (n, q)
            unscored_train += int((~finite).sum())
            bar.update(members.shape[1])
    unscored = scored[0] == 0
    if queries is not None:
        sums, unscored = sums[:, queries], unscored[queries]
    reordered = columns is not None or queries is not None
    return SubsetSums(sums, unscored_train, unscored, reordered)


def _orders(
    scores: ScoresFile, truth: TruthFile, key: str
) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
    """Return where in the mask each scored image is, and where in the file each query is."""
    names, train_ids = truth.query_ids(key), truth.train_ids()
    counts = {
        "training images": (scores.train_count, truth.mask.shape[1], train_ids is None),
        "queries": (scores.query_count, truth.loss(key).shape[1], names is None),
    }
    for what, (ours, theirs, unnamed) in counts.items():
        if unnamed and ours != theirs:
            raise InputError(
                f"scores {ours} {what} and the truth is about {theirs}",
                where=scores.path,
                remedy=f"give a truth file about the same {what}",
            )
    columns = queries = None
    if train_ids is not None:
        columns = order_by_name(
            scores.ids("train"),
            train_ids,
            what="training images",
            where=scores.path,
            other=truth.path,
        )
    if names is not None:
        queries = order_by_name(
            [name.encode() for name in names],
            scores.ids("query"),
            what="queries",
            where=truth.path,
            other=scores.path,
        )
    return columns, queries


def _blocks(count: int) -> Iterator[slice]:
    for first in range(0, count, _BLOCK_COLUMNS):
        yield slice(first, min(first + _BLOCK_COLUMNS, count))


def _rows(scores: ScoresFile, columns: slice) -> Iterator[tuple[slice, Values]]:
    size = max(1, _BLOCK_SCORES // (columns.stop - columns.start))
    for first in range(0, scores.query_count, size):
        rows = slice(first, min(first + size, scores.query_count))
        values = scores.block(rows, columns).astype(np.float64)
        if np.isinf(values).any():
            raise CorruptFileError(
                "a score is infinite",
                where=scores.path,
                remedy="write it again with dtrak-stream score",
            )
        yield rows, values
