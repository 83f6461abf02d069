"""The numbers of the LDS benchmark: one row for each way to score each set of queries."""

from __future__ import annotations

from typing import NotRequired, TypedDict

Numbers = dict[str, float]
"""An LDS, as `estimate_numbers` gives it; with some damping, also `damping_relative`, lambda / mean
eigenvalue, and `effective_dimension`, its effective degrees of freedom."""


class Judged(TypedDict):
    """What came out: with damping, `rules` (by name) and `oracle`; without, `plain`.

    The oracle's damping is the best on the very truth that judges it: an upper bound.
    """

    rules: NotRequired[dict[str, Numbers]]
    oracle: NotRequired[Numbers]
    plain: NotRequired[Numbers]


class Row(Judged):
    """What was judged, and what came out. `timesteps` is 0 for image features."""

    data: str
    queries: str
    method: str
    output_function: str
    timesteps: int
    noise: str
    proj_dim: int
    transform: str
