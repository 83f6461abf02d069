"""The damped kernel (G + lambda I)^-1: choosing lambda, factoring, solving. All float64.

With w the eigenvalues of the Gram matrix G, the effective degrees of freedom of a damping are
df(lambda) = sum_i w_i / (w_i + lambda).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.optimize
from numpy.typing import NDArray

from dtrak_stream.errors import ConfigurationError

Matrix = NDArray[np.float64]

FREEDOM_PER_SAMPLE = {"none": 0.15, "square": 0.07}
"""Share of N that df should be, by transform: the best of a benchmark with N = 1,000, k = 4,096."""
FREEDOM_PER_DIMENSION = {"none": 0.45, "square": 0.21}
"""Share of k that bounds df when N > k: 1 / df = 1 / (a N) + 1 / (b k), fitted for `none`."""
ROUNDING = 32 * float(np.finfo(np.float32).eps)
"""Share of the largest eigenvalue below which a lambda lets rounding through: products are float32.

Matrices of low rank had eigenvalues down to -0.4 eps of the largest; at 16 eps, scores had an
error above 6 % on some processors."""


@dataclass(frozen=True)
class Damping:
    """A chosen lambda.

    Attributes
    ----------
    absolute
        lambda, in units of the Gram matrix.
    relative
        lambda divided by the mean eigenvalue.
    mean_eigenvalue
        trace(G) / min(N, k): the mean over the eigenvalues that can be other than zero.
    """

    absolute: float
    relative: float
    mean_eigenvalue: float


@dataclass(frozen=True)
class GramFacts:
    """What the choice of lambda depends on besides the matrix.

    Attributes
    ----------
    samples
        N, the number of usable training samples.
    proj_dim
        k, the length of a feature.
    transform
        `none` or `square`: what is done to the scores.
    """

    samples: int
    proj_dim: int
    transform: str

    @property
    def rank_bound(self) -> int:
        """Return the largest rank the Gram matrix can have."""
        return min(self.samples, self.proj_dim)

    @property
    def wanted_freedom(self) -> float:
        """Return the effective degrees of freedom that the `auto` rule aims at.

        0.15 N for first-order scores and 0.07 N for squared ones while N <= k, measured to lose
        under one LDS point on average against the best damping. Fewer when features are shorter
        than the data set is long.
        """
        per_sample = FREEDOM_PER_SAMPLE[self.transform] * self.samples
        if self.samples <= self.proj_dim:
            return per_sample
        per_dimension = FREEDOM_PER_DIMENSION[self.transform] * self.proj_dim
        return 1 / (1 / per_sample + 1 / per_dimension)


def choose_damping(choice: str, gram: Matrix, facts: GramFacts) -> Damping:
    """Return lambda for a choice.

    Parameters
    ----------
    choice
        `auto`: the lambda whose effective degrees of freedom are `facts.wanted_freedom`, or
        the smallest above rounding if the rank is too low for that; it needs no ground truth.
        `0.1`: that multiple of the mean eigenvalue. `abs:500`: this.
    gram
        (d, d) Gram matrix.
    facts
        Numbers of samples and dimensions.

    Raises
    ------
    ConfigurationError
        If the choice is malformed or negative, or all features are zero.
    """
    mean_eigenvalue = float(np.trace(gram)) / max(1, facts.rank_bound)
    if mean_eigenvalue <= 0:
        raise ConfigurationError(
            "the Gram matrix is zero: no usable training sample has a gradient",
            where="training features",
            remedy="look at quarantine.jsonl of the store, and check model and output function",
        )
    if choice == "auto":
        eigenvalues = scipy.linalg.eigvalsh(gram)
        wanted = damping_for_freedom(eigenvalues, facts.wanted_freedom)
        absolute = max(wanted, ROUNDING * float(eigenvalues.max()))
    else:
        kind, _, number = choice.rpartition(":")
        absolute = _number(kind, number, choice) * (1.0 if kind else mean_eigenvalue)
    return Damping(absolute, absolute / mean_eigenvalue, mean_eigenvalue)


def _number(kind: str, number: str, choice: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if kind not in ("", "abs") or not 0 <= value < float("inf"):
        raise ConfigurationError(
            "not a damping",
            where=f"--damping {choice}",
            remedy="use auto, a multiple of the mean eigenvalue such as 0.1, or abs:500",
        )
    return value


def damping_for_freedom(eigenvalues: Matrix, freedom: float) -> float:
    """Return the lambda for which sum w / (w + lambda) equals `freedom`.

    Parameters
    ----------
    eigenvalues
        (d,) in any order; rounding may have left some slightly negative.
    freedom
        Positive. If it is more than the rank allows, the smallest lambda that float64 can
        tell from zero in this spectrum is returned.
    """
    positive = np.clip(eigenvalues, 0.0, None)
    largest = float(positive.max())
    smallest_lambda = largest * np.finfo(np.float64).eps * len(positive)
    largest_lambda = float(positive.sum()) / freedom  # there df <= freedom

    def excess(log_lambda: float) -> float:
        return effective_freedom(positive, float(np.exp(log_lambda))) - freedom

    low, high = np.log(smallest_lambda), np.log(largest_lambda)
    if low >= high or excess(low) <= 0:
        return smallest_lambda
    return float(np.exp(scipy.optimize.brentq(excess, low, high, xtol=1e-10)))


def effective_freedom(eigenvalues: Matrix, damping: float) -> float:
    """Return df(lambda) = sum w / (w + lambda) of non-negative eigenvalues (d,)."""
    positive = eigenvalues[eigenvalues > 0]
    return float((positive / (positive + damping)).sum())


class DampedKernel:
    """The Cholesky factor of G + lambda I.

    Parameters
    ----------
    gram
        (d, d) Gram matrix; overwritten.
    damping
        lambda.

    Raises
    ------
    ConfigurationError
        If G + lambda I is not positive definite in float64.
    """

    def __init__(self, gram: Matrix, damping: Damping) -> None:
        self._damping = damping.absolute
        gram[np.diag_indices_from(gram)] += damping.absolute
        try:
            self._factor = scipy.linalg.cholesky(gram, lower=True, overwrite_a=True)
        except np.linalg.LinAlgError as error:
            raise ConfigurationError(
                f"the Gram matrix ({len(gram)} x {len(gram)}) with this damping is singular",
                where=f"damping {damping.absolute:g} ({damping.relative:g} of the mean eigenvalue)",
                remedy="use --damping auto, or a larger one such as 0.1",
            ) from error

    def solve(self, rows: NDArray[np.floating]) -> Matrix:
        """Return rows (G + lambda I)^-1: (Q, d) -> (Q, d)."""
        solved = scipy.linalg.cho_solve((self._factor, True), rows.T.astype(np.float64))
        return np.ascontiguousarray(solved.T)

    def effective_freedom(self) -> float:
        """Return df(lambda) = d - lambda trace((G + lambda I)^-1)."""
        inverse, _ = scipy.linalg.lapack.dtrtri(self._factor, lower=1)
        trace = float(np.einsum("ij,ij->", inverse, inverse))
        return len(self._factor) - self._damping * trace
