"""What holds over all queries: images that are proponents of many, and the spread of scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from dtrak_stream.errors import CorruptFileError
from dtrak_stream.report.histograms import OVERALL_FRAME, count_scores, draw_histogram
from dtrak_stream.report.tiles import Gallery, Tile
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.support.progress import progress

_LARGE = 10**8  # scores; fewer are counted in a moment, without a progress bar


@dataclass(frozen=True)
class Influential:
    """A training image that is among the top proponents of several queries."""

    tile: Tile
    """Its picture."""
    queries: int
    """Number of queries that have it among their top proponents."""
    share: float
    """The same in percent of all scored queries."""
    mean_rank: float
    """Its mean rank in those."""


@dataclass(frozen=True)
class Overall:
    """What holds over all queries."""

    scored_queries: int
    """Queries with scores: all but the quarantined ones."""
    expected: float
    """Queries that would have a given image among their top proponents if these were random."""
    influential: list[Influential]
    """Images that most queries share, most shared first; only those of two queries or more."""
    histogram: Markup | None
    """All scores; None if the file does not hold them."""


def overall(
    scores: ScoresFile, train: Gallery, *, proponents: int, rows: int, visible: bool
) -> Overall:
    """Count over all queries of a scores file, not only those on the page.

    Parameters
    ----------
    scores, train
        The opened file and the training images.
    proponents
        How many proponents of each query count as its top ones.
    rows
        Most images in `Overall.influential`.
    visible
        Whether a long count shows a progress bar.

    Raises
    ------
    CorruptFileError
        If a score lies outside the range that the rankings give.
    """
    top = scores.top_indices(proponents)  # (Q, proponents)
    scored = int((top >= 0).any(axis=1).sum())
    usable = scores.left("train") - int(scores.attributes.get("quarantined_train", 0))
    slots = int((top >= 0).sum())
    return Overall(
        scored_queries=scored,
        expected=slots / usable if usable > 0 else 0.0,
        influential=_influential(top, scored, train, rows),
        histogram=_histogram(scores, visible=visible),
    )


def _influential(
    top: NDArray[np.int64], scored: int, train: Gallery, rows: int
) -> list[Influential]:
    ranks = np.broadcast_to(np.arange(1, top.shape[1] + 1), top.shape)[top >= 0]
    images, positions, counts = np.unique(top[top >= 0], return_inverse=True, return_counts=True)
    rank_sums = np.bincount(positions, weights=ranks, minlength=len(images))
    most_shared = np.argsort(-counts, kind="stable")[:rows]  # ties: the earlier image first
    return [
        Influential(
            tile=train.tile(int(images[place])),
            queries=int(counts[place]),
            share=100 * float(counts[place]) / scored,
            mean_rank=float(rank_sums[place] / counts[place]),
        )
        for place in most_shared
        if counts[place] > 1
    ]


def _histogram(scores: ScoresFile, *, visible: bool) -> Markup | None:
    limits = scores.score_range()
    if limits is None or not scores.has_all_scores:
        return None
    counted = count_scores(_watched(scores, visible=visible), *limits)
    if counted.outside:
        raise CorruptFileError(
            f"{counted.outside} scores lie outside the range {limits[0]:g} to {limits[1]:g} of "
            "its rankings",
            where=scores.path,
            remedy="write it again with dtrak-stream score",
        )
    return draw_histogram(counted, OVERALL_FRAME, name="overall")


def _watched(scores: ScoresFile, *, visible: bool) -> Iterator[NDArray[np.float32]]:
    """Yield the blocks of scores under a progress bar if there are many."""
    total = scores.query_count * scores.train_count
    shown = visible and total > _LARGE
    with progress(total, description="counting scores", unit="score", visible=shown) as bar:
        for block in scores.score_blocks():
            yield block
            bar.update(block.size)
