"""Which share of proponents lies in the half of the pool that a model saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.benchmark.model_dependence.models import FULL, HALVES, Design
from dtrak_stream.benchmark.model_dependence.scoring import Scores
from dtrak_stream.benchmark.model_dependence.shares import (
    Values,
    estimate,
    ranks,
    shares_at_top,
    standardised,
)

TOPS = (1, 5, 20, 100)


def _own(own: Values, _other: Values, _full: Values) -> Values:
    return own


def _full(_own: Values, _other: Values, full: Values) -> Values:
    return full


def _score_difference(own: Values, other: Values, _full: Values) -> Values:
    return standardised(own) - standardised(other)


def _rank_difference(own: Values, other: Values, _full: Values) -> Values:
    return ranks(own) - ranks(other)


FORMS: dict[str, Callable[[Values, Values, Values], Values]] = {
    "score": _own,
    "score difference": _score_difference,
    "rank difference": _rank_difference,
    "score under the full model": _full,
}
"""What the top is taken of, from scores (Q, N) under the model that made the queries, under that of
the other half, and under the full model."""


def seen_half_rows(methods: Sequence[str], scores: Scores, design: Design) -> list[dict[str, Any]]:
    """Return for each form and method the share of the top that the queries' model saw.

    Queries are what the models of the halves generated. Where the pool has fewer than 100 images,
    tops of more than a half of it are left out: what is in them is hardly chosen.
    """
    count = len(design.times)
    tops = [k for k in TOPS if 2 * k <= count]
    return [
        {
            "form": form,
            "method": method,
            "top": {str(k): estimate(_shares(form, method, scores, design.seen, k)) for k in tops},
        }
        for form in FORMS
        for method in methods
    ]


def _shares(
    form: str, method: str, scores: Scores, seen: NDArray[np.bool_], k: int
) -> list[Values]:
    """Return for each half's model the shares of its queries."""
    found = []
    for number, name in enumerate(HALVES):
        under = (name, HALVES[1 - number], FULL)
        values = FORMS[form](*(scores.of(model, method, name) for model in under))
        found.append(shares_at_top(values, seen[number], k))
    return found
