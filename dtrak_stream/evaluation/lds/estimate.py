"""The LDS with its uncertainty, from predictions and losses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from dtrak_stream.evaluation.lds.spearman import Counts, RankedColumns, Values, spearman

AUTHORS_SEED = 42
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class LdsEstimate:
    """A linear datamodeling score, as a fraction.

    Attributes
    ----------
    value
        The mean over queries of the Spearman correlation over subsets.
    standard_error
        Its standard error, for other subsets and other queries alike.
    low, high
        95 % interval.
    bootstrap_mean, bootstrap_std
        Mean and standard deviation over resampled subsets, which the D-TRAK authors print as
        `a +- b`. Resampling repeats subsets, and the ties that makes draw the mean down by some
        tenths of a point; compare it with published numbers only.
    per_query
        (Q,) Spearman correlation of each query.
    """

    value: float
    standard_error: float
    low: float
    high: float
    bootstrap_mean: float
    bootstrap_std: float
    per_query: Values


def estimate_lds(
    predictions: Values, losses: Values, *, resamples: int = 64, seed: int = AUTHORS_SEED
) -> LdsEstimate:
    """Compare predicted with measured losses (Park et al. 2023, definition 2.3).

    The interval is value +- t(M - 1) * standard error. The variance is the sum of two parts:
    that of the subsets, which all queries share, by the delete-one jackknife (which makes no ties,
    where a bootstrap of ranks does), and that of the queries, the variance of the per-query
    values over Q. What subsets and queries do together is in both parts, so the sum is on the safe
    side (Owen 2007, "The pigeonhole bootstrap", section 3).

    Parameters
    ----------
    predictions
        (M, Q) predicted losses of each subset: minus the sum of the scores of its images.
    losses
        (M, Q) measured losses. Both finite.
    resamples, seed
        Of the authors' bootstrap.
    """
    ranked = RankedColumns(predictions), RankedColumns(losses)
    subsets, queries = losses.shape
    ones = np.ones(subsets, dtype=np.int64)
    per_query = spearman(*ranked, ones)
    value = float(per_query.mean())
    variance = _jackknife_variance(ranked, ones)
    if queries > 1:
        variance += float(per_query.var(ddof=1)) / queries
    error = float(np.sqrt(variance))
    reach = float(scipy.stats.t.ppf((1 + _CONFIDENCE) / 2, subsets - 1)) * error
    drawn = _resampled(ranked, subsets, resamples, seed)
    return LdsEstimate(
        value,
        error,
        max(-1.0, value - reach),
        min(1.0, value + reach),
        float(drawn.mean()),
        float(drawn.std(ddof=1)),
        per_query,
    )


def _jackknife_variance(ranked: tuple[RankedColumns, RankedColumns], ones: Counts) -> float:
    """Return the jackknife's variance of the mean over queries under other subsets."""
    means = []
    for left_out in range(len(ones)):
        counts = ones.copy()
        counts[left_out] = 0
        means.append(spearman(*ranked, counts).mean())
    return float(np.var(means) * (len(ones) - 1))


def _resampled(
    ranked: tuple[RankedColumns, RankedColumns], subsets: int, resamples: int, seed: int
) -> NDArray[np.float64]:
    """Return the LDS of each resample, the resamples being those of `scipy.stats.bootstrap`."""
    generator = np.random.RandomState(seed)  # as the authors' notebooks: random_state=42
    indices = generator.randint(0, subsets, (resamples, subsets))
    counts = [np.bincount(row, minlength=subsets) for row in indices]
    return np.array([spearman(*ranked, each.astype(np.int64)).mean() for each in counts])
