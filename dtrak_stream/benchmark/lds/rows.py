"""The numbers of the LDS benchmark: one row for each way to score each set of queries."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from dtrak_stream.evaluation.lds.estimate import LdsEstimate


class Numbers(TypedDict):
    """An LDS, as a fraction; the fields are those of `LdsEstimate`."""

    value: float
    standard_error: float
    low: float
    high: float
    bootstrap_mean: float
    bootstrap_std: float


class Damped(Numbers):
    """An LDS with some damping: lambda / mean eigenvalue, and its effective degrees of freedom."""

    damping_relative: float
    effective_dimension: float


class Judged(TypedDict):
    """What came out: with damping, `rules` (by name) and `oracle`; without, `plain`.

    The oracle's damping is the best on the very truth that judges it: an upper bound.
    """

    rules: NotRequired[dict[str, Damped]]
    oracle: NotRequired[Damped]
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


def estimate_numbers(estimate: LdsEstimate) -> Numbers:
    """Return an estimate without its values for each query."""
    return {
        "value": estimate.value,
        "standard_error": estimate.standard_error,
        "low": estimate.low,
        "high": estimate.high,
        "bootstrap_mean": estimate.bootstrap_mean,
        "bootstrap_std": estimate.bootstrap_std,
    }
