"""Which images are near which in pixels, and which are equally near."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64]

TOLERANCE = 0.05
"""Two images are equally near a third one if their distances differ by less than this share."""


def pixel_distances(some: NDArray[np.float32], others: NDArray[np.float32]) -> Values:
    """Return the Euclidean distance of every image of one set to every one of another.

    Parameters
    ----------
    some, others
        (A, H, W, C) and (B, H, W, C), in [-1, 1].

    Returns
    -------
    Values
        (A, B).
    """
    rows = [torch.from_numpy(each.reshape(len(each), -1)).double() for each in (some, others)]
    exact = "donot_use_mm_for_euclid_dist"  # of equal images it is 0
    return np.asarray(torch.cdist(rows[0], rows[1], compute_mode=exact).numpy())


def equally_near(distances: Values, image: int, others: Mask, most: int) -> Numbers:
    """Return candidates that are as near a query as an image is.

    As many a bit nearer as a bit farther: a method that ranks by distance puts the image in their
    middle.

    Parameters
    ----------
    distances
        (N,) of all candidates to the query.
    image
        Which one.
    others
        (N,) which candidates may be chosen.
    most
        At most so many are nearer, and so many farther. Those exactly as near are all returned.

    Returns
    -------
    Numbers
        (n,) none where the image is nearer than all others, or far from them.
    """
    gap = distances - distances[image]
    chosen = np.flatnonzero(others & (np.abs(gap) <= TOLERANCE * distances[image]))
    chosen = chosen[chosen != image]
    chosen = chosen[np.argsort(np.abs(gap[chosen]), kind="stable")]
    nearer, farther = chosen[gap[chosen] < 0], chosen[gap[chosen] > 0]
    count = min(len(nearer), len(farther), most)
    return np.concatenate([chosen[gap[chosen] == 0], nearer[:count], farther[:count]])


def left_out_pairs(
    distances: Values, neighbour: Numbers, left_out: Numbers, most: int
) -> tuple[Numbers, Numbers]:
    """Return left-out images that are as near a query as their neighbours are, with these.

    In half of the pairs the left-out image is a bit nearer, in the other half its neighbour: a
    method that ranks by distance puts it above in one half of them.

    Parameters
    ----------
    distances
        (N,) of all candidates to the query.
    neighbour
        (N,) the nearest image of each that was not left out.
    left_out
        The images to choose from.
    most
        At most so many pairs of each kind, those nearest the query. Pairs that are exactly as near
        are all returned.

    Returns
    -------
    tuple of Numbers
        (n,) left-out images, and (n,) their neighbours.
    """
    nearest_first = left_out[np.argsort(distances[left_out], kind="stable")]
    gap = distances[nearest_first] - distances[neighbour[nearest_first]]
    close = np.abs(gap) <= TOLERANCE * distances[nearest_first]
    chosen, gap = nearest_first[close], gap[close]
    nearer, farther = chosen[gap < 0], chosen[gap > 0]
    count = min(len(nearer), len(farther), most)
    pairs = np.concatenate([chosen[gap == 0], nearer[:count], farther[:count]])
    return pairs, neighbour[pairs]


def share_above(scores: Values, ours: Numbers | int, theirs: Numbers) -> float:
    """Return in which share of pairs the first scores higher; a tie counts as one half.

    Parameters
    ----------
    scores
        (N,) of all candidates.
    ours, theirs
        The two candidates of each pair.
    """
    difference = scores[ours] - scores[theirs]
    return float(np.mean((np.sign(difference) + 1) / 2))
