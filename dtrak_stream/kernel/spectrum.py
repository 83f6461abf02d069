"""What the eigenvalues of a Gram matrix say about damping it.

With w the eigenvalues, the effective degrees of freedom of a damping are
df(lambda) = sum_i w_i / (w_i + lambda).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import scipy.linalg
import scipy.optimize

from dtrak_stream.kernel.matrix import Matrix

EXACT_SIZE = 2048
"""Largest matrix whose eigenvalues are all computed: it takes seconds, and 100 MiB."""
ROUNDING = 32 * float(np.finfo(np.float32).eps)
"""Share of the largest eigenvalue below which a lambda lets rounding through: products are float32.

Matrices of low rank had eigenvalues down to -0.4 eps of the largest; at 16 eps, scores had an
error above 6 % on some processors."""


class Spectrum(Protocol):
    """The eigenvalues of a (d, d) Gram matrix, known exactly or by estimates."""

    @property
    def size(self) -> int:
        """Return d."""

    @property
    def trace(self) -> float:
        """Return the sum of all eigenvalues."""

    @property
    def largest(self) -> float:
        """Return the largest eigenvalue."""

    @property
    def smallest(self) -> float:
        """Return the smallest eigenvalue, or 0 where it is not known."""

    @property
    def rank(self) -> float:
        """Return how many eigenvalues are above float32 rounding."""

    def freedom(self, damping: float) -> float:
        """Return df(lambda)."""

    def freedom_error(self, damping: float) -> float:
        """Return the error of that: statistical (one standard error) plus a bound on the rest."""


class ExactSpectrum:
    """All eigenvalues.

    Parameters
    ----------
    eigenvalues
        (d,) in any order; rounding may have left some slightly negative.
    """

    def __init__(self, eigenvalues: Matrix) -> None:
        self._values = eigenvalues
        self.size = len(eigenvalues)
        self.trace = float(eigenvalues.sum())
        self.largest = float(eigenvalues.max(initial=0.0))
        self.smallest = max(0.0, float(eigenvalues.min(initial=self.largest)))
        self.rank = float((self._values > ROUNDING * self.largest).sum())

    def freedom(self, damping: float) -> float:
        """Return df(lambda)."""
        # rounding leaves a cloud of eigenvalues on both sides of zero, whose shares cancel
        used = self._values[(self._values > 0) | (self._values > -damping / 2)]
        return float((used / (used + damping)).sum())

    def freedom_error(self, damping: float) -> float:
        """Return 0: nothing is estimated."""
        return 0.0 * damping


def exact_spectrum(matrix: Matrix) -> ExactSpectrum:
    """Return the spectrum of a symmetric matrix (d, d), from all its eigenvalues."""
    return ExactSpectrum(scipy.linalg.eigvalsh(matrix, check_finite=False))


def damping_for_freedom(spectrum: Spectrum, freedom: float) -> float:
    """Return the lambda for which df(lambda) equals `freedom`.

    Parameters
    ----------
    spectrum
        The eigenvalues.
    freedom
        Positive. If it is more than the rank allows, the smallest lambda that float64 can
        tell from zero in this spectrum is returned.
    """
    smallest_lambda = spectrum.largest * np.finfo(np.float64).eps * spectrum.size
    largest_lambda = 2 * spectrum.trace / freedom  # df(trace / freedom) <= freedom

    def excess(log_lambda: float) -> float:
        return spectrum.freedom(float(np.exp(log_lambda))) - freedom

    low, high = np.log(smallest_lambda), np.log(largest_lambda)
    if low >= high or excess(low) <= 0:
        return smallest_lambda
    return float(np.exp(scipy.optimize.brentq(excess, low, high, xtol=1e-10)))
