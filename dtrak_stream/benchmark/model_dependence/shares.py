"""What share of the first k candidates is of a kind, with its standard error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import scipy.stats
from numpy.typing import NDArray

Values = NDArray[np.float64]


class Share(TypedDict):
    """A mean with its standard error.

    `standard_error` is the larger of that over units (queries, images) within the groups they come
    in, and that between the groups, of which there are two or one: half their difference, which
    tells little. `by_group` has the mean of each.
    """

    value: float
    standard_error: float
    by_group: list[float]


def shares_at_top(scores: Values, of_kind: NDArray[np.bool_], k: int) -> Values:
    """Return for each query which share of its k highest candidates is of a kind.

    Candidates of equal scores come in no order: where several compete for the last places, each is
    in with the same probability, and the expected share is returned. So a method that gives all the
    same score has the share of the kind among all.

    Parameters
    ----------
    scores
        (Q, N), all of them numbers.
    of_kind
        (N,) which candidates are of the kind.
    k
        How many; at most N.

    Returns
    -------
    Values
        (Q,) from 0 to 1.
    """
    last = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]  # (Q, 1), the k-th highest
    above, level = scores > last, scores == last
    places = k - above.sum(1)  # left for those level with the last
    chance = (level & of_kind).sum(1) / level.sum(1)
    share: Values = ((above & of_kind).sum(1) + places * chance) / k
    return share


def standardised(scores: Values) -> Values:
    """Return the scores of each query with mean 0 and standard deviation 1 over candidates.

    Of a query all of whose scores are the same they are 0.
    """
    centred = scores - scores.mean(axis=1, keepdims=True)
    deviation = scores.std(axis=1, keepdims=True)
    same = np.ptp(scores, axis=1, keepdims=True) == 0  # but for the rounding of their mean
    return np.where(same, 0.0, centred / np.where(same, 1.0, deviation))


def ranks(scores: Values) -> Values:
    """Return how many candidates of a query each is above, ties in the middle; (Q, N), from 1."""
    return np.asarray(scipy.stats.rankdata(scores, axis=1))


def estimate(groups: Sequence[Values]) -> Share | None:
    """Return the mean over groups of their means, with its standard error.

    Parameters
    ----------
    groups
        For each group, such as the queries of a model, the values of its units.

    Returns
    -------
    Share or None
        The error within groups takes units for independent, given their group. None if a group has
        fewer than two units.
    """
    if any(len(group) < 2 for group in groups):
        return None
    means = np.array([group.mean() for group in groups])
    variances = [group.var(ddof=1) / len(group) for group in groups]
    error = float(np.sqrt(sum(variances))) / len(groups)
    if len(groups) > 1:
        error = max(error, float(means.std(ddof=1)) / len(groups) ** 0.5)
    return {
        "value": float(means.mean()),
        "standard_error": error,
        "by_group": [float(mean) for mean in means],
    }
