"""How much of a query lies where the kernel does not reach: in no direction of training features.

With psi = |phi_q|^2 the share that is left over is

    lambda phi_q^T (Phi^T Phi + lambda I)^-1 phi_q / psi
      = 1 - k_q^T (Phi Phi^T + lambda I)^-1 k_q / psi,   k_q = Phi phi_q,

the variance that kernel regression leaves of a query, relative to what it begins with: 0 for a
query among training features at lambda = 0, 1 for one orthogonal to all. As lambda falls it goes
down to the share of |phi_q|^2 outside the span of the features. Near 1, scores of a query say
little: what it consists of is in no training image, or damped away.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dtrak_stream.gram.plan import GramForm
from dtrak_stream.kernel.damping import Damping
from dtrak_stream.kernel.solvers import DampedKernel
from dtrak_stream.scoring.blocks import Products, dot_products
from dtrak_stream.scoring.sampled import SAMPLED_QUERIES, spread
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import FloatArray


def leakages(
    train: FeatureStore,
    query: FeatureStore,
    form: GramForm,
    kernel: DampedKernel,
    dampings: Sequence[Damping],
    products: Products,
) -> tuple[float, ...]:
    """Return for each lambda the mean of that share over a sample of queries: in [0, 1].

    At most 64 queries are looked at, spread over those that have a feature. In the dual form that
    takes a pass over the training features, of which there are no more than numbers in one.

    Parameters
    ----------
    train, query
        The features.
    form, kernel, dampings
        Which Gram matrix, what solves with it, and its lambdas.
    products
        How features are multiplied.

    Returns
    -------
    tuple of float
        NaN for each lambda if no query has a feature other than zero.
    """
    shares = [
        _shares(features, train, form, kernel, dampings, products)
        for features in _sampled(query, products.queries_at_a_time)
    ]
    if not shares:
        return (math.nan,) * len(dampings)
    return tuple(np.concatenate(shares, axis=1).mean(axis=1).tolist())


def _sampled(query: FeatureStore, at_a_time: int) -> Iterator[FloatArray]:
    """Yield the features (q, k) of some queries, but for those that are zero."""
    runs = spread(query.usable(), SAMPLED_QUERIES, 1)
    for first in range(0, len(runs), at_a_time):
        rows = np.concatenate([query.rows(run) for run in runs[first : first + at_a_time]])
        if (features := rows[rows.any(axis=1)]).size:
            yield features


def _shares(
    features: FloatArray,
    train: FeatureStore,
    form: GramForm,
    kernel: DampedKernel,
    dampings: Sequence[Damping],
    products: Products,
) -> NDArray[np.float64]:
    """Return the share of each query that is left over, for each lambda: (L, q)."""
    lengths = np.einsum("qk,qk->q", features, features, dtype=np.float64)
    if form == "primal":
        solved = np.einsum("lqk,qk->lq", kernel.solve(features), features, dtype=np.float64)
        left = np.array([[damping.absolute] for damping in dampings]) * solved
    else:
        (of_all,) = dot_products(features, train, [range(len(train))], products)  # (q, N)
        left = lengths - np.einsum("lqn,qn->lq", kernel.solve(of_all), of_all, dtype=np.float64)
    shares: NDArray[np.float64] = np.clip(left / lengths, 0, 1)  # rounding goes beyond either end
    return shares
