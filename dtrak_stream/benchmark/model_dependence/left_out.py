"""Whether an image left out of training comes out above its nearest neighbour that was not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dtrak_stream.benchmark.model_dependence.distances import (
    Mask,
    Numbers,
    Values,
    left_out_pairs,
    share_above,
)
from dtrak_stream.benchmark.model_dependence.models import FULL, HALVES, Design
from dtrak_stream.benchmark.model_dependence.scoring import Scores
from dtrak_stream.benchmark.model_dependence.shares import estimate

_NEAREST, _PAIRS_EACH_SIDE = 100, 10


def nearest_seen(distances: Values, seen: Mask) -> Numbers:
    """Return the nearest other image of each that was seen, (N,); from distances (N, N)."""
    others = np.where(seen, distances, np.inf)
    np.fill_diagonal(others, np.inf)
    return np.asarray(others.argmin(1))


def left_out_rows(
    methods: Sequence[str],
    scores: Scores,
    design: Design,
    within: Values,
    distances: Mapping[str, Values],
) -> list[dict[str, Any]]:
    """Return for each method in which share of pairs the left-out image is above.

    Queries are what the models of the halves generated. The same is told under the full model,
    which saw both images of each pair.

    Parameters
    ----------
    methods, scores, design
        What is judged, and what was trained on.
    within
        (N, N) distances of the pool in pixels.
    distances
        (Q, N) of what the model of each half generated to the pool.
    """
    pairs = {
        name: _pairs(distances[name], within, seen)
        for name, seen in zip(HALVES, design.seen, strict=True)
    }
    rows: list[dict[str, Any]] = []
    for method in methods:
        row: dict[str, Any] = {"method": method}
        for form in ("own", FULL):
            shares = [
                _above(scores.of(name if form == "own" else FULL, method, name), pairs[name])
                for name in HALVES
            ]
            row[form] = estimate(shares)
        row["pairs"] = sum(len(ours) for each in pairs.values() for ours, _ in each)
        row["queries"] = sum(len(ours) > 0 for each in pairs.values() for ours, _ in each)
        rows.append(row)
    return rows


def _pairs(distances: Values, within: Values, seen: Mask) -> list[tuple[Numbers, Numbers]]:
    """Return the pairs of each query, among the images nearest to it."""
    neighbour = nearest_seen(within, seen)
    found = []
    for row in distances:
        near = np.argsort(row, kind="stable")[:_NEAREST]
        found.append(left_out_pairs(row, neighbour, near[~seen[near]], _PAIRS_EACH_SIDE))
    return found


def _above(scores: Values, pairs: list[tuple[Numbers, Numbers]]) -> Values:
    """Return the share of each query that has pairs."""
    both = zip(scores, pairs, strict=True)
    return np.array([share_above(row, *pair) for row, pair in both if len(pair[0])])
