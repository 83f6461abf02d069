"""The room that scores take on disk."""

from __future__ import annotations

from dataclasses import dataclass

from dtrak_stream.scoring.options import ScoreOptions
from dtrak_stream.scoring.plan import ScorePlan


@dataclass(frozen=True)
class ScoreRoom:
    """Bytes on disk, besides ids and headers.

    Attributes
    ----------
    file
        Of the scores file.
    parts
        Of all scored blocks, which are kept until the file is written.
    """

    file: int
    parts: int


def score_room(
    plan: ScorePlan,
    options: ScoreOptions,
    *,
    queries: int,
    samples: int,
    lambdas: int,
    sums: int,
) -> ScoreRoom:
    """Return how much room scoring takes.

    Parameters
    ----------
    plan, options
        How it is cut, and what is kept.
    queries, samples
        Q and N.
    lambdas
        L, 1 without a kernel.
    sums
        Sums of scores that are kept side by side: see `ScoreWork`.
    """
    bars, top_k = options.error_bars, min(options.top_k, samples)
    every = 4 * lambdas * queries * samples
    kept = every * (1 + bars) if plan.save_scores else 0
    lists = (32 if bars else 24) * lambdas * queries * top_k
    return ScoreRoom(kept + lists, max(kept + lists * len(plan.rows), every * sums))
