"""Whether images shown many times stand out among equally near ones that were shown once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtrak_stream.benchmark.model_dependence.distances import (
    Numbers,
    Values,
    equally_near,
    share_above,
)
from dtrak_stream.benchmark.model_dependence.models import FULL, REPEATED, TIMES_SHOWN, Design
from dtrak_stream.benchmark.model_dependence.scoring import QUERIES_OF_REPEATED, Scores
from dtrak_stream.benchmark.model_dependence.shares import estimate, ranks

_QUERIES_EACH, _OTHERS_EACH_SIDE = 10, 5


@dataclass(frozen=True)
class Encounter:
    """A query, a repeated image near it, and images that are as near and were shown once.

    Attributes
    ----------
    query
        Its number among all of `QUERIES_OF_REPEATED`.
    image, others
        Numbers of the images in the pool.
    """

    query: int
    image: int
    others: Numbers


def encounters(distances: Values, design: Design) -> list[Encounter]:
    """Return for each repeated image the queries nearest to it that have others as near.

    Parameters
    ----------
    distances
        (Q, N) in pixels.
    design
        Which images are repeated.
    """
    once = design.times == 1
    found = []
    for image in np.flatnonzero(~once):
        nearest = np.argsort(distances[:, image], kind="stable")
        met = (
            Encounter(
                int(query),
                int(image),
                equally_near(distances[query], int(image), once, _OTHERS_EACH_SIDE),
            )
            for query in nearest
        )
        found += [each for each in met if len(each.others)][:_QUERIES_EACH]
    return found


def repeated_rows(
    methods: Sequence[str], scores: Scores, design: Design, distances: Values
) -> list[dict[str, Any]]:
    """Return for each method how often repeated images are above the others, and their ranks.

    The same is told under the full model, which saw all of them equally often.

    Parameters
    ----------
    methods, scores, design
        What is judged, and what was trained on.
    distances
        (Q, N) of `QUERIES_OF_REPEATED`, in their order, to the pool.
    """
    met = encounters(distances, design)
    return [
        {"times": times, "method": method}
        | {
            under: _standing(
                np.concatenate([scores.of(under, method, each) for each in QUERIES_OF_REPEATED]),
                [each for each in met if design.times[each.image] == times],
            )
            for under in (REPEATED, FULL)
        }
        for times in TIMES_SHOWN
        for method in methods
    ]


def _standing(scores: Values, met: Sequence[Encounter]) -> dict[str, Any]:
    """Return how repeated images stand, and the others; (Q, N) scores."""
    places = scores.shape[1] + 1 - ranks(scores)  # 1 is the highest
    images = sorted({each.image for each in met})
    above = [
        np.mean([share_above(scores[e.query], e.image, e.others) for e in met if e.image == image])
        for image in images
    ]
    ours = [places[each.query, each.image] for each in met]
    others = [places[each.query, each.others].mean() for each in met]
    return {
        "above": estimate([np.array(above)]),
        "median_rank": float(np.median(ours)) if met else None,
        "median_rank_of_others": float(np.median(others)) if met else None,
        "images": len(images),
        "encounters": len(met),
    }
