"""The spectrum of a large Gram matrix by stochastic Lanczos quadrature.

trace f(G) is estimated as the mean over random sign vectors z of z^T f(G) z (Hutchinson 1990),
and each z^T f(G) z by the Gauss quadrature that Lanczos' tridiagonal matrix of G started at z
gives (Ubaru, Chen and Saad 2017, algorithm 1). It takes one pass over G for each step, for all
probes together, and no memory but a few vectors for each probe.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch

from dtrak_stream.kernel.matrix import BlockedMatrix, Matrix, moments_of, product
from dtrak_stream.kernel.spectrum import ROUNDING
from dtrak_stream.support.progress import progress
from dtrak_stream.support.random_bits import StreamKey, random_words

PROBES = 10
STEPS = 32
MAX_STEPS = 512
TRUNCATION = 0.01
"""Largest share of df that the bound on the error of the quadrature may reach."""


@dataclass(frozen=True)
class _Quadrature:
    """Nodes of one probe, their weights, and what bounds the error of the quadrature."""

    nodes: Matrix  # (m,)
    weights: Matrix  # (m,), sum 1
    residuals: Matrix  # (m,): first times last entry of each eigenvector, times the next beta


class EstimatedSpectrum:
    """Estimates of sums over the eigenvalues of a matrix too large to decompose.

    Probes come from a counter-based generator: the same matrix has the same estimates anywhere.

    Parameters
    ----------
    matrix
        (d, d) symmetric, positive semidefinite.
    visible
        Whether a long computation shows a progress bar.
    """

    def __init__(self, matrix: BlockedMatrix, *, visible: bool = False) -> None:
        self._matrix, self._visible = matrix, visible
        self.size = matrix.size
        self.moments = moments_of(matrix)
        self.trace = self.moments.trace
        self.smallest = 0.0
        self._current = probes(self.size, PROBES) / np.sqrt(self.size)  # (d, P)
        self._previous = np.zeros_like(self._current)
        self._alphas: list[Matrix] = []  # of (P,)
        self._betas: list[Matrix] = []  # of (P,)
        self._extend(STEPS)

    @property
    def largest(self) -> float:
        """Return the largest Ritz value: a lower bound, tight after a few steps."""
        return max(float(one.nodes.max()) for one in self._quadratures)

    @property
    def rank(self) -> float:
        """Return an estimate of the number of eigenvalues above float32 rounding.

        Zeros are told apart early; what is small but not zero counts until many steps are done.
        """
        least = ROUNDING * self.largest
        shares = [one.weights[one.nodes > least].sum() for one in self._quadratures]
        return float(self.size * np.mean(shares))

    @property
    def steps(self) -> int:
        """Return the number of Lanczos steps done."""
        return len(self._alphas)

    def freedom(self, damping: float) -> float:
        """Return the estimate of df(lambda)."""
        return float(np.mean(self._freedoms(damping)))

    def freedom_error(self, damping: float) -> float:
        """Return its error: one standard error over the probes, plus the quadrature's bound."""
        freedoms = self._freedoms(damping)
        statistical = float(np.std(freedoms, ddof=1)) / np.sqrt(len(freedoms))
        return float(statistical + self.truncation(damping))

    def truncation(self, damping: float) -> float:
        """Return a bound on how much stopping Lanczos here changes df(lambda).

        The Gauss quadrature of z^T (G + lambda I)^-1 z misses r^T (G + lambda I)^-1 r, where r
        is the residual of conjugate gradients after as many steps (Golub and Meurant 2010,
        chapter 12), and that is at most r^T r / lambda.
        """
        residuals = [(one.residuals / (one.nodes + damping)).sum() for one in self._quadratures]
        return self.size * float(np.mean(np.square(residuals)))

    def refine(self, damping: float) -> None:
        """Do more Lanczos steps until df(lambda) no longer depends on their number."""
        most = min(self.size, MAX_STEPS)
        while self.steps < most and self.truncation(damping) > TRUNCATION * self.freedom(damping):
            self._extend(min(2 * self.steps, most) - self.steps)

    def _freedoms(self, damping: float) -> list[float]:
        freedoms = []
        for one in self._quadratures:
            nodes, weights = one.nodes[one.nodes > 0], one.weights[one.nodes > 0]
            freedoms.append(self.size * float((weights * nodes / (nodes + damping)).sum()))
        return freedoms

    def _extend(self, steps: int) -> None:
        steps = min(steps, self.size - self.steps)
        with progress(
            steps, description="eigenvalue estimates", unit="step", visible=self._visible
        ) as bar:
            for _ in range(steps):
                self._step()
                bar.update()
        alphas, betas = np.array(self._alphas), np.array(self._betas)  # (m, P)
        self._quadratures = [_quadrature(alphas[:, p], betas[:, p]) for p in range(alphas.shape[1])]

    def _step(self) -> None:
        image = product(self._matrix, self._current)  # (d, d) @ (d, P) -> (d, P)
        alpha = np.einsum("dp,dp->p", self._current, image)
        image -= alpha * self._current
        if self._betas:
            image -= self._betas[-1] * self._previous
        beta = np.linalg.norm(image, axis=0)
        # below rounding, Krylov's space is exhausted: no direction is left to go on in
        beta[beta <= 1e-13 * self.trace] = 0.0
        self._alphas.append(alpha)
        self._betas.append(beta)
        self._previous = self._current
        self._current = np.divide(image, beta, out=np.zeros_like(image), where=beta > 0)


def _quadrature(alpha: Matrix, beta: Matrix) -> _Quadrature:
    nodes, vectors = scipy.linalg.eigh_tridiagonal(alpha, beta[:-1])
    return _Quadrature(
        nodes=np.clip(nodes, 0.0, None),
        weights=np.square(vectors[0]),
        residuals=beta[-1] * vectors[0] * vectors[-1],
    )


def probes(size: int, count: int) -> Matrix:
    """Return fixed random signs: (size, count) float64, +1 or -1."""
    words = random_words(
        StreamKey("kernel/probes", 0), (torch.arange(size)[:, None], torch.arange(count), 0, 0)
    )
    signs: Matrix = ((words[..., 0] & 1) * 2 - 1).double().numpy()
    return signs
