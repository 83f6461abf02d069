"""The damped kernel (G + lambda I)^-1 in memory: by Cholesky's factor or by eigenvectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from dtrak_stream.kernel.damping import Damping
from dtrak_stream.kernel.matrix import Matrix
from dtrak_stream.kernel.rules import singular
from dtrak_stream.kernel.spectrum import ExactSpectrum, Spectrum


class DampedKernel(Protocol):
    """Solves with (G + lambda I) for one lambda or several."""

    @property
    def count(self) -> int:
        """Return L, the number of lambdas."""

    def solve(self, rows: NDArray[np.floating]) -> Matrix:
        """Return rows (G + lambda I)^-1 for each lambda: (n, d) -> (L, n, d) float64."""


class CholeskyKernel:
    """The float64 Cholesky factor of G + lambda I, for one lambda.

    Parameters
    ----------
    gram
        (d, d) Gram matrix, C-contiguous; the factor takes its place.
    damping
        lambda.
    spectrum
        Its eigenvalues, for the refusal.

    Raises
    ------
    ConfigurationError
        If G + lambda I is not positive definite in float64.
    """

    count = 1

    def __init__(self, gram: Matrix, damping: Damping, spectrum: Spectrum) -> None:
        gram[np.diag_indices_from(gram)] += damping.absolute
        try:
            # the transposed view is in the order LAPACK works in: no copy is made
            self._factor = scipy.linalg.cholesky(
                gram.T, lower=True, overwrite_a=True, check_finite=False
            )
        except np.linalg.LinAlgError as error:
            raise singular(spectrum, damping) from error

    def solve(self, rows: NDArray[np.floating]) -> Matrix:
        """Return rows (G + lambda I)^-1: (n, d) -> (1, n, d)."""
        right = rows.T.astype(np.float64)
        solved = scipy.linalg.cho_solve((self._factor, True), right, check_finite=False)
        return np.ascontiguousarray(solved.T)[None]


class Eigendecomposition:
    """G = V diag(w) V^T, from which the kernel of every lambda follows.

    Parameters
    ----------
    gram
        (d, d) Gram matrix, C-contiguous; used up.
    """

    def __init__(self, gram: Matrix) -> None:
        values, self._vectors = scipy.linalg.eigh(
            gram.T, overwrite_a=True, driver="evr", check_finite=False
        )
        self._values = np.clip(values, 0.0, None)
        self.spectrum = ExactSpectrum(values)

    def kernel(self, dampings: Sequence[Damping]) -> EigenKernel:
        """Return (G + lambda I)^-1 of each lambda."""
        shifted = self._values + np.array([[damping.absolute] for damping in dampings])  # (L, d)
        return EigenKernel(self._vectors, 1 / shifted)


class EigenKernel:
    """Several lambdas by one eigendecomposition.

    Parameters
    ----------
    vectors
        (d, d): eigenvectors in its columns.
    inverses
        (L, d): 1 / (w + lambda).
    """

    def __init__(self, vectors: Matrix, inverses: Matrix) -> None:
        self._vectors, self._inverses = vectors, inverses
        self.count = len(inverses)

    def solve(self, rows: NDArray[np.floating]) -> Matrix:
        """Return rows (G + lambda I)^-1 for each lambda: (n, d) -> (L, n, d)."""
        rotated = rows.astype(np.float64) @ self._vectors  # (n, d) @ (d, d) -> (n, d)
        out = np.empty((self.count, *rotated.shape))
        for each, inverse in zip(out, self._inverses, strict=True):
            np.matmul(rotated * inverse, self._vectors.T, out=each)
        return out
