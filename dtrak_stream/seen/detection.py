"""How well residuals tell images that a model saw from others: with error bars."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Residuals: TypeAlias = NDArray[np.float64]

FALSE_POSITIVES = 0.01
_RESAMPLED = 200


class Estimate(NamedTuple):
    """A number that was measured.

    Attributes
    ----------
    value
        The number.
    error
        Its standard error.
    """

    value: float
    error: float


def area_under_curve(candidates: Residuals, held_out: Residuals) -> Estimate:
    """Return how often a candidate's residual is below that of an image the model did not see.

    Ties count half. The standard error is that of DeLong et al. 1988, of both sets.

    Parameters
    ----------
    candidates, held_out
        (N,) and (M,), N and M at least 2.
    """
    above = 1 - _share_below(held_out, candidates)  # (N,)
    below = _share_below(candidates, held_out)  # (M,)
    variance = above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below)
    return Estimate(float(below.mean()), float(np.sqrt(variance)))


def true_positives(candidates: Residuals, held_out: Residuals) -> Estimate | None:
    """Return the share of candidates whose residual only 1 % of unseen images would come below.

    The bar is the k-th smallest of M held-out residuals, k = 1 % of M + 1 rounded down: an unseen
    image comes below that with a probability of at most 1 % (Vovk et al. 2005). The standard error
    is that of the bar, by resampling held-out images, and of the candidates counted.

    Parameters
    ----------
    candidates, held_out
        (N,) and (M,).

    Returns
    -------
    Estimate or None
        None if there are fewer than 99 held-out images: 1 % of them is less than one.
    """
    place = int(FALSE_POSITIVES * (len(held_out) + 1)) - 1
    if place < 0:
        return None
    ordered, bars = np.sort(candidates), np.sort(held_out)
    resampled = np.random.default_rng(0).choice(held_out, (_RESAMPLED, len(held_out)))
    resampled_bars = np.partition(resampled, place, axis=1)[:, place]
    share = float(np.searchsorted(ordered, bars[place])) / len(ordered)
    shares = np.searchsorted(ordered, resampled_bars) / len(ordered)
    variance = shares.var(ddof=1) + share * (1 - share) / len(ordered)
    return Estimate(share, float(np.sqrt(variance)))


def _share_below(values: Residuals, at: Residuals) -> Residuals:
    """Return the share of `values` (n,) below each of `at` (m,), ties counted half: (m,)."""
    ordered = np.sort(values)
    below, up_to = (np.searchsorted(ordered, at, side) for side in ("left", "right"))
    shares: Residuals = (below + up_to) / (2 * len(ordered))
    return shares
