"""The difference of two LDS by the same models and queries, and its standard error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.evaluation.lds.estimate import RankedColumns, spearman

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """How much higher one LDS is than another.

    Attributes
    ----------
    value
        The mean over queries of the difference of their Spearman correlations.
    error
        Its standard error, for other queries and other halves alike.
    error_of_queries
        The part of other queries alone.
    """

    value: float
    error: float
    error_of_queries: float

    def numbers(self) -> dict[str, float]:
        """Return it for the file of numbers."""
        return {
            "difference": self.value,
            "error": self.error,
            "error_of_queries": self.error_of_queries,
        }


def paired_difference(
    ours: Values, theirs: Values, losses: Values, mask: NDArray[np.bool_]
) -> Difference:
    """Compare two predictions by the same queries and the same models.

    The variance is that of the mean over queries, plus that of halves by the jackknife, in which
    halves that make up a whole are left out together (Quenouille 1956, Owen 2007): what one half
    of a pair predicts, the other predicts with the opposite sign.

    Parameters
    ----------
    ours, theirs
        (M, Q) predicted losses.
    losses
        (M, Q) measured ones.
    mask
        (M, N) which images each model was trained on.
    """
    ranked = tuple(RankedColumns(each) for each in (ours, theirs, losses))

    def differences(counts: NDArray[np.int64]) -> Values:
        first, second, truth = ranked
        return spearman(first, truth, counts) - spearman(second, truth, counts)

    per_query = differences(np.ones(len(losses), dtype=np.int64))
    of_queries = float(per_query.var(ddof=1)) / len(per_query)
    means = []
    units = independent_units(mask)
    for unit in units:
        counts = np.ones(len(losses), dtype=np.int64)
        counts[unit] = 0
        means.append(differences(counts).mean())
    of_halves = float(np.var(means)) * (len(units) - 1)
    return Difference(
        float(per_query.mean()), float(np.sqrt(of_queries + of_halves)), float(np.sqrt(of_queries))
    )


def independent_units(mask: NDArray[np.bool_]) -> list[list[int]]:
    """Return which subsets were drawn together: pairs that make up the whole, or each by itself."""
    unseen, units = dict.fromkeys(range(len(mask))), list[list[int]]()
    while unseen:
        first = next(iter(unseen))
        del unseen[first]
        partner = next((m for m in unseen if (mask[m] != mask[first]).all()), None)
        if partner is not None:
            del unseen[partner]
        units.append([first] if partner is None else [first, partner])
    return units
