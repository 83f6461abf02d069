"""The rankings of a scores file as a table that a spreadsheet reads."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.scoring.scores_file import Ranked, ScoresFile
from dtrak_stream.support.names import FixedWidthNames
from dtrak_stream.support.progress import progress
from dtrak_stream.support.table_cells import cell_of

COLUMNS = ("query_id", "rank", "train_id", "score", "side", "list")

SEEN_COLUMN = "seen"

Line = tuple[str | int, ...]


def write_rankings(path: Path, scores: ScoresFile, top_k: int | None, *, visible: bool) -> int:
    """Write one line for each training sample in a query's rankings; return the queries without.

    Columns: `query_id`, `rank` (1 is the strongest of its list), `train_id`, `score`, `side`
    (`proponent` if the score is positive, `opponent` if negative, `neutral` at 0; `unsigned` if
    scores were transformed so that they have no sign), `list` (`top` or `bottom`). Ids that a
    spreadsheet would take for formulas have a ' in front (`support/table_cells.py`). Where the file
    has it, `seen` comes last: the probability that the model saw the training sample, nothing if
    it is not known.

    Parameters
    ----------
    path
        The CSV file.
    scores
        The opened file.
    top_k
        Length of each list; None for all that the file holds.
    visible
        Whether to draw a progress bar.

    Raises
    ------
    ConfigurationError
        If the file's lists are shorter than `top_k`.
    """
    count = _checked(top_k, scores)
    ids = scores.ids("train")
    empty = 0
    with (
        progress(scores.query_count, description="exporting", unit="query", visible=visible) as bar,
        path.open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        seen = scores.seen
        table.writerow(COLUMNS if seen is None else (*COLUMNS, SEEN_COLUMN))
        for query in range(scores.query_count):
            lines = list(_lines(scores, query, count, ids, seen))
            table.writerows(lines)
            empty += not lines
            bar.update()
    return empty


def _checked(top_k: int | None, scores: ScoresFile) -> int:
    held = scores.top_k
    if top_k is not None and not 1 <= top_k <= held:
        raise ConfigurationError(
            f"the lists in {scores.path} have {held} entries",
            where=f"--top-k {top_k}",
            remedy=f"give 1 to {held}, or score again with a larger --top-k",
        )
    return held if top_k is None else top_k


def _lines(
    scores: ScoresFile,
    query: int,
    count: int,
    ids: FixedWidthNames,
    seen: NDArray[np.float32] | None,
) -> Iterator[Line]:
    name = scores.query_id(query)
    signed = scores.has_sign
    for end, ranked in (
        ("top", scores.top(query, count)),
        ("bottom", scores.bottom(query, count)),
    ):
        names = ids.at(np.array([entry.index for entry in ranked], np.int64))
        for entry, train_id in zip(ranked, names, strict=True):
            side = _side(entry) if signed else "unsigned"
            yield (
                cell_of(name),
                entry.rank,
                cell_of(train_id.decode(errors="replace")),
                f"{entry.score:.9g}",
                side,
                end,
                *(() if seen is None else (_probability(seen[entry.index]),)),
            )


def _probability(value: np.float32) -> str:
    return "" if np.isnan(value) else f"{value:.4g}"


def _side(entry: Ranked) -> str:
    if entry.score == 0:
        return "neutral"
    return "proponent" if entry.score > 0 else "opponent"
