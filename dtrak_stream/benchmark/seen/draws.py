"""Which images are held out in each draw, and what the residuals then say beside the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.seen.detection import Estimate, Residuals
from dtrak_stream.seen.judgement import Judgement, judge

Mask = NDArray[np.bool_]
_LIKELY = 0.5


@dataclass(frozen=True)
class Told:
    """What residuals told of candidates of which the truth is known.

    Attributes
    ----------
    candidates
        (n,) numbers of the candidates in the pool.
    seen
        (n,) whether the model saw them.
    judgement
        What the residuals of these and of the held-out images say.
    """

    candidates: NDArray[np.int64]
    seen: Mask
    judgement: Judgement

    def numbers(self) -> dict[str, float]:
        """Return what is said and what is true; NaN where residuals cannot tell."""
        found, probability = self.judgement, self.judgement.probability
        likely = np.where(np.isnan(probability), np.nan, probability >= _LIKELY)
        positives = found.positives
        return {
            "area": found.area.value,
            "positives": np.nan if positives is None else positives.value,
            "unseen_share": found.unseen_share if found.tells else np.nan,
            "truly_unseen_share": float(1 - self.seen.mean()),
            "mean": float(probability.mean()),
            "mean_seen": float(probability[self.seen].mean()),
            "mean_unseen": float(probability[~self.seen].mean()),
            "likely_seen": float(likely[self.seen].mean()),
            "likely_unseen": float(likely[~self.seen].mean()),
        }


def told_by_same_writers(residuals: Residuals, seen: Mask, draw: int) -> Told:
    """Hold out a random half of what the model did not see; the rest of the pool are candidates."""
    unseen = np.flatnonzero(~seen)
    drawn = np.random.default_rng(draw).choice(unseen, len(unseen) // 2, replace=False)
    chosen = np.sort(drawn)
    candidates = np.setdiff1d(np.arange(len(seen)), chosen)
    found = judge(residuals[candidates], residuals[chosen])
    return Told(candidates, seen[candidates], found)


def told_by_others(residuals: Residuals, others: Residuals, seen: Mask) -> Told:
    """Hold out images of another origin; all of the pool are candidates."""
    return Told(np.arange(len(seen)), seen, judge(residuals, others))


def gain_of_area(seen: Mask, ours: Residuals, theirs: Residuals) -> Estimate:
    """Return by how much the area under the curve of one kind of residual is above another's.

    The standard error is that of pairs, by DeLong et al. 1988: both are of the same images.

    Parameters
    ----------
    seen
        (N,) whether the model saw an image.
    ours, theirs
        (N,) residuals of the two kinds.
    """
    gain = _in_order(seen, ours) - _in_order(seen, theirs)
    rows, columns = gain.mean(axis=1), gain.mean(axis=0)
    variance = rows.var(ddof=1) / len(rows) + columns.var(ddof=1) / len(columns)
    return Estimate(float(gain.mean()), float(np.sqrt(variance)))


def _in_order(seen: Mask, residuals: Residuals) -> Residuals:
    """Return (seen, unseen) whether the first has the smaller residual; a tie counts one half."""
    order = np.sign(residuals[~seen][None, :] - residuals[seen][:, None])
    return np.asarray((order + 1) / 2)


def summary(draws: list[dict[str, float]]) -> dict[str, Any]:
    """Return mean and standard deviation over draws of each number, and how many could tell."""
    found: dict[str, Any] = {"draws": len(draws)}
    found["telling"] = sum(not np.isnan(each["mean"]) for each in draws)
    for name in draws[0]:
        values = np.array([each[name] for each in draws])
        known = values[~np.isnan(values)]
        found[name] = {
            "mean": float(known.mean()) if len(known) else None,
            "deviation": float(known.std(ddof=1)) if len(known) > 1 else None,
        }
    return found
