"""The noise ceiling: how far any prediction can agree with losses that differ from seed to seed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from dtrak_stream.evaluation.lds.spearman import Values, plain_spearman


@dataclass(frozen=True)
class NoiseCeiling:
    """What the agreement of seeds says about the truth.

    Attributes
    ----------
    seeds
        S, the number of models of each subset.
    agreement
        Spearman correlation over subsets between the losses of two seeds: the mean over queries
        and pairs of seeds.
    reliability
        The same for two means over S seeds: S r / (1 + (S - 1) r) (Spearman 1910, Brown 1910).
    ceiling
        sqrt(reliability): the LDS of a prediction that knows the expected loss of each subset.
    per_query
        (Q,) agreement of each query.
    """

    seeds: int
    agreement: float
    reliability: float
    ceiling: float
    per_query: Values


def noise_ceiling(losses_of_seeds: Values) -> NoiseCeiling:
    """Estimate the ceiling from losses (S, M, Q) of S seeds, S at least 2, all finite."""
    seeds = len(losses_of_seeds)
    pairs = combinations(range(seeds), 2)
    per_pair = [plain_spearman(losses_of_seeds[a], losses_of_seeds[b]) for a, b in pairs]
    per_query = np.mean(per_pair, axis=0)
    agreement = float(per_query.mean())
    known = max(agreement, 0.0)
    reliability = seeds * known / (1 + (seeds - 1) * known)
    return NoiseCeiling(seeds, agreement, reliability, float(np.sqrt(reliability)), per_query)
