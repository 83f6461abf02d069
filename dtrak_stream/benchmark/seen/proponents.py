"""Which share of proponents the model saw, with scores multiplied by what residuals tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from dtrak_stream.benchmark.model_dependence.seen_half import TOPS
from dtrak_stream.benchmark.model_dependence.shares import Values, estimate, shares_at_top
from dtrak_stream.benchmark.seen.draws import Told
from dtrak_stream.scoring.options import SeenMode
from dtrak_stream.scoring.seen_images import score_factors

MODES: tuple[SeenMode, ...] = get_args(SeenMode)


def proponent_rows(
    method: str, scores: Sequence[Values], told: Sequence[Sequence[Told]]
) -> list[dict[str, Any]]:
    """Return for each mode which share of the top was seen, the mean over draws.

    Parameters
    ----------
    method
        Whose scores they are.
    scores
        Of each model, (Q, N) of what it generated.
    told
        Of each model, what each draw told.

    Returns
    -------
    list of dict
        Standard errors are over queries and models.
    """
    count = min(len(each.candidates) for draws in told for each in draws)
    tops = [k for k in TOPS if 2 * k <= count]
    return [
        {
            "method": method,
            "seen": mode,
            "top": {
                str(k): estimate(
                    [_shares(mode, k, *each) for each in zip(scores, told, strict=True)]
                )
                for k in tops
            },
        }
        for mode in MODES
    ]


def _shares(mode: SeenMode, k: int, scores: Values, draws: Sequence[Told]) -> Values:
    """Return the share of each query, (Q,): the mean over draws."""
    found = [
        shares_at_top(
            scores[:, each.candidates] * score_factors(each.judgement.probability, mode),
            each.seen,
            k,
        )
        for each in draws
    ]
    return np.asarray(np.mean(found, axis=0))
