"""From residuals to the probability that the model saw an image.

Candidates are a mixture, f = (1 - pi) f1 + pi f0: f1 of images that the model saw, f0 of others,
which held-out images show. By the rule of Bayes (Efron et al. 2001)

    P(unseen | r) = pi f0(r) / f(r).

- f0 / f is taken to rise with the residual r: the more wrong the model is, the less likely it saw
  the image. The rising ratio of greatest likelihood is an isotonic regression of "is held out" on
  r over both sets together (Dykstra et al. 1995). No bandwidth is chosen; the probability is a
  staircase, the same for all images below the last step.
- pi, the share of candidates that the model did not see, is not known from residuals alone. It is
  at most (share of candidates above a bar) / (share of unseen images above it), for any bar. The
  least of these bounds, each with a standard error added, is taken. Where the model learned
  nothing of some images it saw, pi is too large and their probability too low.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.seen.detection import Residuals

FEWEST_ABOVE = 20
"""Held-out images above the highest bar for pi."""


@dataclass(frozen=True)
class Calibration:
    """P(unseen | r) as a staircase.

    Attributes
    ----------
    unseen_share
        pi, from above.
    starts
        (S,) the residual at which each step begins, ascending; the first one reaches down to 0.
    unseen
        (S,) P(unseen | r) on each, rising.
    """

    unseen_share: float
    starts: Residuals
    unseen: Residuals

    def probability(self, residuals: Residuals) -> NDArray[np.float32]:
        """Return P(seen | r) of images, (n,) float32; NaN where the residual is."""
        steps = np.searchsorted(self.starts, residuals, side="right") - 1
        seen = (1 - self.unseen[np.maximum(steps, 0)]).astype(np.float32)
        seen[np.isnan(residuals)] = np.nan
        return seen


def calibrate(candidates: Residuals, held_out: Residuals) -> Calibration:
    """Return the probability that the model saw an image as a function of its residual.

    Parameters
    ----------
    candidates, held_out
        (N,) and (M,), all finite; M at least twice `FEWEST_ABOVE`.
    """
    share = unseen_share(candidates, held_out)
    starts, ratio = _rising_ratio(candidates, held_out)
    unseen = np.minimum(1, share * ratio)
    first = np.concatenate([[True], np.diff(unseen) > 0])
    return Calibration(share, starts[first], unseen[first])


def unseen_share(candidates: Residuals, held_out: Residuals) -> float:
    """Return a bound of pi from above: the least over bars that 1/2, 1/4, 1/8 ... lie above."""
    bounds, count = [1.0], len(held_out) // 2
    ordered = np.sort(held_out)
    while count >= FEWEST_ABOVE:
        bar = ordered[-count]
        theirs = float((held_out >= bar).mean())
        ours = (int((candidates >= bar).sum()) + 1) / (len(candidates) + 1)
        spread = (1 - ours) / (ours * len(candidates)) + (1 - theirs) / (theirs * len(held_out))
        bounds.append(ours / theirs * (1 + float(np.sqrt(spread))))
        count //= 2
    return min(bounds)


def _rising_ratio(candidates: Residuals, held_out: Residuals) -> tuple[Residuals, Residuals]:
    """Return f0 / f as a staircase: where each step begins, and its height, (S,) both.

    A held-out image is added at the smallest residual of all: that none of M came there does not
    make it impossible.
    """
    from sklearn.isotonic import isotonic_regression  # takes a second

    everyone = np.concatenate([candidates, held_out, [min(candidates.min(), held_out.min())]])
    places, members = np.unique(everyone, return_inverse=True)
    is_held_out = np.arange(len(everyone)) >= len(candidates)
    held = np.bincount(members, weights=is_held_out)
    count = np.bincount(members)
    chance = isotonic_regression(held / count, sample_weight=count)  # P(held out | r, both sets)
    with np.errstate(divide="ignore"):
        odds = chance / (1 - chance)
    ratio = odds * len(candidates) / (len(held_out) + 1)
    first = np.concatenate([[True], np.diff(chance) > 0])
    return places[first], ratio[first]
