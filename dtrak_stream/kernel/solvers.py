"""The damped kernel (G + lambda I)^-1: by Cholesky's factor, by eigenvectors, or by iteration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.kernel.damping import Damping, singular
from dtrak_stream.kernel.matrix import BlockedMatrix, Matrix, product
from dtrak_stream.kernel.spectrum import ExactSpectrum, Spectrum
from dtrak_stream.support.progress import progress


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


TOLERANCE = 1e-9
"""Length of the residual, as a share of that of the right-hand side, at which a row is solved."""
MAX_ITERATIONS = 2000


class IterativeKernel:
    """Several lambdas by conjugate gradients (Hestenes and Stiefel 1952).

    All right-hand sides and lambdas advance together: each iteration is one pass over the matrix.

    Parameters
    ----------
    matrix
        (d, d) Gram matrix, read in blocks of rows.
    dampings
        Each lambda, positive.
    visible
        Whether a long solution shows a progress bar.
    """

    def __init__(
        self, matrix: BlockedMatrix, dampings: Sequence[Damping], *, visible: bool = False
    ) -> None:
        self._matrix, self._visible = matrix, visible
        self._dampings = np.array([damping.absolute for damping in dampings])
        self.count = len(dampings)

    def solve(self, rows: NDArray[np.floating]) -> Matrix:
        """Return rows (G + lambda I)^-1 for each lambda: (n, d) -> (L, n, d).

        Raises
        ------
        ConfigurationError
            If it does not converge: lambda is too small for a matrix of this condition.
        """
        right = np.tile(rows.astype(np.float64).T, (1, self.count))  # (d, L n)
        shifts = np.repeat(self._dampings, len(rows))  # (L n,)
        solved = self._iterate(right, shifts)
        return np.ascontiguousarray(solved.T).reshape(self.count, *rows.shape)

    def _iterate(self, right: Matrix, shifts: Matrix) -> Matrix:
        solution = np.zeros_like(right)
        residual, direction = right, right.copy()
        squares = np.einsum("dm,dm->m", residual, residual)
        wanted = TOLERANCE**2 * squares
        columns = right.shape[1]
        with progress(
            columns, description="conjugate gradients", unit="solution", visible=self._visible
        ) as bar:
            for _ in range(MAX_ITERATIONS):
                active = squares > wanted
                bar.update(columns - int(active.sum()) - bar.n)
                if not active.any():
                    return solution
                squares = self._advance(solution, residual, direction, squares, shifts, active)
        raise self._refusal(int(active.sum()), columns)

    def _advance(
        self,
        solution: Matrix,
        residual: Matrix,
        direction: Matrix,
        squares: Matrix,
        shifts: Matrix,
        active: NDArray[np.bool_],
    ) -> Matrix:
        """Do one iteration in place; return the new squared lengths of the residuals (m,)."""
        image = product(self._matrix, direction)  # (d, d) @ (d, m) -> (d, m)
        image += shifts * direction
        curvature = np.einsum("dm,dm->m", direction, image)
        step = np.divide(squares, curvature, out=np.zeros_like(squares), where=active)
        solution += step * direction
        residual -= step * image
        updated = np.einsum("dm,dm->m", residual, residual)
        turn = np.divide(updated, squares, out=np.zeros_like(squares), where=active)
        direction *= turn
        direction += residual
        return np.where(active, updated, squares)

    def _refusal(self, left: int, columns: int) -> ConfigurationError:
        return ConfigurationError(
            f"{left} of {columns} solutions did not converge in {MAX_ITERATIONS} iterations",
            where=f"damping {self._dampings.min():g}",
            remedy="use a larger damping, or a --memory-limit that the Gram matrix fits in",
        )
