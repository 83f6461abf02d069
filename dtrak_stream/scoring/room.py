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


def score_room(plan: ScorePlan, options: ScoreOptions) -> ScoreRoom:
    """Return how much room scoring takes.

    Parameters
    ----------
    plan, options
        How it is cut, and what is kept.
    """
    queries, samples, lambdas = plan.queries[-1].stop, plan.rows[-1].stop, plan.lambdas
    bars, top_k = options.error_bars, min(options.top_k, samples)
    every = 4 * lambdas * queries * samples
    kept = every * (1 + bars) if plan.save_scores else 0
    lists = (32 if bars else 24) * lambdas * queries * top_k
    return ScoreRoom(kept + lists, max(kept + lists * len(plan.rows), every * plan.sums))
