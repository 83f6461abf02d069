"""Which samples the scale of a stream is computed of: the same ones whatever memory there is.

At most `SAMPLED_QUERIES` queries and `SAMPLED_RUNS` runs of training samples, spread evenly over
those that have features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLED_QUERIES = 64
SAMPLED_RUNS = 64
ROWS_OF_RUN = 16


def spread(usable: NDArray[np.bool_], runs: int, length: int) -> tuple[range, ...]:
    """Return at most so many runs of rows, each begun by a usable one, spread over those.

    Parameters
    ----------
    usable
        Which rows are, (N,).
    runs, length
        How many, and of how many rows; the last one may be shorter.
    """
    places = np.flatnonzero(usable)
    starts = places[:: max(length, -(-len(places) // runs))].tolist()
    return tuple(range(start, min(start + length, len(usable))) for start in starts)
