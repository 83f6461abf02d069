"""By how much more one method's removals did than another's, query by query, with error bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """What removing by one method did to the same queries beyond what another one did.

    Attributes
    ----------
    name
        Both methods, with a minus between.
    mean, error
        The mean over queries of the difference, and its standard error; of several repetitions,
        each query has the mean first. NaN for the error of a single query.
    """

    name: str
    mean: float
    error: float


def differences(values: Sequence[tuple[str, Values]]) -> Iterator[Difference]:
    """Yield what each method did beyond each that comes before it.

    Queries differ far more than methods do: the error of a difference of the same queries is much
    below that of either mean.

    Parameters
    ----------
    values
        Name of each method, and one measure of it (queries, repetitions).
    """
    of_queries = [(name, each.mean(axis=1)) for name, each in values]  # (Q, R) -> (Q,)
    for (before, theirs), (name, ours) in combinations(of_queries, 2):
        yield Difference(f"{name} - {before}", *mean_and_error(ours - theirs))


def mean_and_error(values: Values) -> tuple[float, float]:
    """Return the mean of independent numbers (n,), and its standard error."""
    count = len(values)
    error = float(values.std(ddof=1)) / count**0.5 if count > 1 else float("nan")
    return float(values.mean()), error
