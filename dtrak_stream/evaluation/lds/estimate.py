"""The LDS with its uncertainty, from predictions and losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

AUTHORS_SEED = 42
_CONFIDENCE = 0.95
_FEWEST_REPEATED = 3
Values = NDArray[np.float64]
Counts = NDArray[np.int64]


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
    variance = _jackknife_variance(lambda counts: spearman(*ranked, counts), ones)
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


def estimate_gain(ours: Values, theirs: Values, losses: Values) -> tuple[float, float]:
    """Return by how much one LDS is above another on the same subsets and queries, and its error.

    The standard error is that of pairs, made of the two parts that `estimate_lds` describes.

    Parameters
    ----------
    ours, theirs
        (M, Q) predictions of either.
    losses
        (M, Q) measured losses. All finite.
    """
    measured = RankedColumns(losses)
    first, second = RankedColumns(ours), RankedColumns(theirs)

    def gains(counts: Counts) -> Values:
        return spearman(first, measured, counts) - spearman(second, measured, counts)

    ones = np.ones(len(losses), dtype=np.int64)
    per_query = gains(ones)
    variance = _jackknife_variance(gains, ones)
    if len(per_query) > 1:
        variance += float(per_query.var(ddof=1)) / len(per_query)
    return float(per_query.mean()), float(np.sqrt(variance))


def _jackknife_variance(per_query: Callable[[Counts], Values], ones: Counts) -> float:
    """Return the jackknife's variance of the mean over queries under other subsets."""
    means = []
    for left_out in range(len(ones)):
        counts = ones.copy()
        counts[left_out] = 0
        means.append(per_query(counts).mean())
    return float(np.var(means) * (len(ones) - 1))


def _resampled(
    ranked: tuple[RankedColumns, RankedColumns], subsets: int, resamples: int, seed: int
) -> NDArray[np.float64]:
    """Return the LDS of each resample, the resamples being those of `scipy.stats.bootstrap`."""
    generator = np.random.RandomState(seed)  # as the authors' notebooks: random_state=42
    indices = generator.randint(0, subsets, (resamples, subsets))
    counts = [np.bincount(row, minlength=subsets) for row in indices]
    return np.array([spearman(*ranked, each.astype(np.int64)).mean() for each in counts])


@dataclass(frozen=True)
class NoiseCeiling:
    """What the agreement of seeds says about the truth.

    Attributes
    ----------
    seeds
        S, the number of models of each subset, or of the subsets that have most.
    subsets
        Number of subsets that have all S, which tell the agreement.
    agreement
        Spearman correlation over subsets between the losses of two seeds: the mean over queries
        and pairs of seeds.
    reliability
        The same for two means over S seeds: S r / (1 + (S - 1) r) (Spearman 1910, Brown 1910);
        where subsets have different numbers of models, the mean over subsets.
    ceiling
        sqrt(reliability): the LDS of a prediction that knows the expected loss of each subset.
    per_query
        (Q,) agreement of each query.
    """

    seeds: int
    subsets: int
    agreement: float
    reliability: float
    ceiling: float
    per_query: Values


def noise_ceiling(losses_of_seeds: Values) -> NoiseCeiling | None:
    """Estimate the ceiling from what seeds say of the same subsets.

    Parameters
    ----------
    losses_of_seeds
        (S, M, Q) of S seeds, S at least 2; finite, but for all of a subset that has no model of a
        seed, which is NaN.

    Returns
    -------
    NoiseCeiling or None
        None if fewer than three subsets have models of all seeds.
    """
    made = ~np.isnan(losses_of_seeds).any(axis=2)  # (S, M)
    counts, repeated = made.sum(axis=0), made.all(axis=0)  # (M,)
    if np.count_nonzero(repeated) < _FEWEST_REPEATED:
        return None
    pairs = combinations(losses_of_seeds[:, repeated], 2)
    per_query = np.mean([plain_spearman(one, other) for one, other in pairs], axis=0)
    agreement = float(per_query.mean())
    known = max(agreement, 0.0)
    reliability = float(np.mean(counts * known / (1 + (counts - 1) * known)))
    ceiling = float(np.sqrt(reliability))
    repeats = int(np.count_nonzero(repeated))
    return NoiseCeiling(int(counts.max()), repeats, agreement, reliability, ceiling, per_query)


class RankedColumns:
    """Columns whose ranks are wanted for many multisets of their rows.

    Parameters
    ----------
    values
        (M, Q), finite.
    """

    def __init__(self, values: Values) -> None:
        self._order = np.argsort(values, axis=0, kind="stable")  # (M, Q)
        ordered = np.take_along_axis(values, self._order, axis=0)
        begins = np.ones(values.shape, dtype=np.bool_)
        begins[1:] = ordered[1:] != ordered[:-1]
        self._has_ties = not begins.all()
        places = np.arange(len(values))[:, None]
        self._first = np.maximum.accumulate(np.where(begins, places, 0), axis=0)
        ends = np.ones_like(begins)
        ends[:-1] = begins[1:]
        last = np.where(ends, places, len(values))
        self._last = np.minimum.accumulate(last[::-1], axis=0)[::-1]

    def ranks(self, counts: Counts) -> Values:
        """Return the average ranks (M, Q) of the rows, row m occurring `counts[m]` times."""
        occurs = counts[self._order]  # (M, Q)
        until = np.cumsum(occurs, axis=0)
        before = until - occurs
        if self._has_ties:
            before = np.take_along_axis(before, self._first, axis=0)
            until = np.take_along_axis(until, self._last, axis=0)
        ranks = np.empty(occurs.shape)
        np.put_along_axis(ranks, self._order, (before + until + 1) / 2, axis=0)
        return ranks


def spearman(first: RankedColumns, second: RankedColumns, counts: Counts) -> Values:
    """Return the Spearman correlation of each pair of columns, (Q,).

    Parameters
    ----------
    first, second
        Columns over the same M rows.
    counts
        (M,) how often each row occurs: ones for the plain correlation.

    Returns
    -------
    Values
        0 where a column is constant: it says nothing about the other.
    """
    centre = (counts.sum() + 1) / 2  # the mean of average ranks, whatever the ties
    ours, theirs = first.ranks(counts) - centre, second.ranks(counts) - centre

    def summed(products: Values) -> Values:
        total: Values = np.einsum("m,mq->q", counts.astype(np.float64), products)
        return total

    spread = np.sqrt(summed(ours * ours) * summed(theirs * theirs))
    product = summed(ours * theirs)
    return np.divide(product, spread, out=np.zeros_like(product), where=spread > 0)


def plain_spearman(first: Values, second: Values) -> Values:
    """Return the Spearman correlation of each pair of columns of (M, Q) arrays, (Q,)."""
    ones = np.ones(len(first), dtype=np.int64)
    return spearman(RankedColumns(first), RankedColumns(second), ones)


def is_constant(columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which columns of (M, Q) hold one value only, (Q,)."""
    return np.asarray((columns == columns[:1]).all(axis=0), dtype=np.bool_)
