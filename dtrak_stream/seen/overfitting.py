"""How much more wrong a model is about images it did not see, and the damping that this asks for.

R is the mean residual of held-out images over that of training images, at the same timesteps and
under the same noise. A model that learned single images (R well above 1) follows features in more
directions than one that learned only what all have in common (R near 1): the effective degrees of
freedom of the kernel are to be a share

    a = min(max(1.5 (1 - R^-1/2), 0.05), 0.25)

of N. The constants were fitted to the retrained halves of two models of 8x8 digits, by scores that
are squares, and with R of the loss over all timesteps, which is nearer to 1 than that of residuals
at early ones. `benchmark/results/search.md` tells what the rule gains and loses on other data.
"""

from __future__ import annotations

import math

from dtrak_stream.seen.detection import Estimate, Residuals

_SLOPE = 1.5
_LEAST, _MOST = 0.05, 0.25


def loss_ratio(candidates: Residuals, held_out: Residuals) -> Estimate:
    """Return R, the mean residual of held-out images over that of training images.

    The standard error is that of a ratio of the means of two independent samples (delta method).
    Candidates that the model did not see draw R towards 1.

    Parameters
    ----------
    candidates, held_out
        (N,) and (M,), all finite and positive, N and M at least 2.
    """
    ours, theirs = float(candidates.mean()), float(held_out.mean())
    relative = (_error(candidates) / ours) ** 2 + (_error(held_out) / theirs) ** 2
    return Estimate(theirs / ours, theirs / ours * math.sqrt(relative))


def freedom_share(ratio: float) -> float:
    """Return a, the share of N that the effective degrees of freedom are to be, for R = `ratio`."""
    return min(max(_SLOPE * (1 - 1 / math.sqrt(ratio)), _LEAST), _MOST)


def _error(values: Residuals) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values))
