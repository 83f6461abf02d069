"""Eigenvalue estimates against all eigenvalues, and what they say about their error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtrak_stream.kernel.damping import GramFacts, choose_damping, parse_dampings
from dtrak_stream.kernel.lanczos import EstimatedSpectrum, probes
from dtrak_stream.kernel.matrix import MatrixInMemory, moments_of
from dtrak_stream.kernel.spectrum import exact_spectrum


def gram_of(size: int, decay: float, rank: int, seed: int = 0) -> np.ndarray:
    """A matrix with eigenvalues that fall as a power."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    eigenvalues = np.arange(1, size + 1.0) ** -decay
    eigenvalues[rank:] = 0
    gram: np.ndarray = (basis * eigenvalues) @ basis.T
    return gram


class InBlocks:
    """A matrix that is read a few rows at a time."""

    def __init__(self, matrix: np.ndarray, rows: int) -> None:
        self.matrix, self.rows, self.size = matrix, rows, len(matrix)

    def blocks(self):
        for start in range(0, self.size, self.rows):
            rows = range(start, min(start + self.rows, self.size))
            yield rows, self.matrix[rows.start : rows.stop]


def test_moments_are_the_sums_over_eigenvalues():
    gram = gram_of(30, 1.0, 20)
    eigenvalues = np.linalg.eigvalsh(gram)
    for matrix in (MatrixInMemory(gram), InBlocks(gram, 7)):
        moments = moments_of(matrix)
        assert moments.trace == pytest.approx(eigenvalues.sum())
        assert moments.square_sum == pytest.approx((eigenvalues**2).sum())


@settings(deadline=None, max_examples=8)
@given(
    size=st.integers(120, 200),
    decay=st.floats(0.5, 2.0),
    share=st.floats(0.2, 1.0),
    power=st.floats(-4, 0),
)
def test_the_estimate_of_the_freedom_is_within_its_error(size, decay, share, power):
    gram = gram_of(size, decay, max(20, int(share * size)))
    damping = 10.0**power
    estimated, exact = EstimatedSpectrum(MatrixInMemory(gram)), exact_spectrum(gram)
    estimated.refine(damping)
    difference = abs(estimated.freedom(damping) - exact.freedom(damping))
    # four standard errors of ten probes, and rounding
    assert difference <= 4 * estimated.freedom_error(damping) + 1e-6
    assert estimated.freedom_error(damping) < 0.1 * exact.freedom(damping) + 1.0


def test_the_bound_on_the_truncation_holds_for_every_number_of_steps():
    gram = gram_of(200, 1.0, 200)
    damping = 1e-3
    start = probes(200, 10)
    inverse = np.linalg.inv(gram + damping * np.eye(200))
    exact = np.mean(200 - damping * np.einsum("dp,de,ep->p", start, inverse, start))
    spectrum = EstimatedSpectrum(MatrixInMemory(gram))
    for _ in range(3):
        missing = spectrum.freedom(damping) - exact
        assert -1e-6 <= missing <= spectrum.truncation(damping) + 1e-6
        spectrum._extend(16)


def test_refining_stops_when_the_truncation_no_longer_matters():
    gram = gram_of(300, 2.0, 300)
    easy, hard = (EstimatedSpectrum(MatrixInMemory(gram)) for _ in range(2))
    easy.refine(1.0)
    hard.refine(1e-5)
    assert easy.steps < hard.steps <= 300
    assert easy.truncation(1.0) < 0.01 * easy.freedom(1.0)


def test_refining_stops_at_the_largest_number_of_steps(monkeypatch):
    monkeypatch.setattr("dtrak_stream.kernel.lanczos.MAX_STEPS", 40)
    spectrum = EstimatedSpectrum(MatrixInMemory(gram_of(300, 2.0, 300)))
    spectrum.refine(1e-6)
    assert spectrum.steps == 40
    assert spectrum.truncation(1e-6) > 0.01 * spectrum.freedom(1e-6)


def test_estimates_find_the_largest_eigenvalue_and_the_rank():
    spectrum = EstimatedSpectrum(MatrixInMemory(gram_of(250, 1.0, 80)))
    assert spectrum.largest == pytest.approx(1.0)
    assert spectrum.rank == pytest.approx(80, rel=0.15)


def test_an_exhausted_krylov_space_is_no_obstacle():
    spectrum = EstimatedSpectrum(MatrixInMemory(gram_of(100, 0.0, 2)))
    assert spectrum.freedom(1.0) == pytest.approx(1.0, rel=0.5)
    assert np.isfinite(spectrum.freedom_error(1.0))
    assert EstimatedSpectrum(MatrixInMemory(np.eye(3))).freedom(1.0) == pytest.approx(1.5)


def test_estimates_do_not_depend_on_how_the_matrix_is_read():
    gram = gram_of(120, 1.0, 120)
    whole, parts = EstimatedSpectrum(MatrixInMemory(gram)), EstimatedSpectrum(InBlocks(gram, 7))
    assert whole.freedom(0.01) == pytest.approx(parts.freedom(0.01), rel=1e-6)


def test_probes_are_signs_that_are_always_the_same():
    first, second = probes(1000, 3), probes(1000, 3)
    assert np.array_equal(first, second)
    assert set(np.unique(first)) == {-1.0, 1.0}
    assert np.abs(first.T @ first - 1000 * np.eye(3)).max() < 150


@pytest.mark.parametrize("rule", ["auto", "auto-oas"])
def test_a_rule_gives_nearly_the_same_lambda_from_estimates(rule):
    gram = gram_of(200, 1.0, 200)
    matrix = MatrixInMemory(gram)
    facts = GramFacts(200, 500, 0.15, 0.45, moments_of(matrix))
    (choice,) = parse_dampings(rule).each
    exact = choose_damping(choice, exact_spectrum(gram), facts)
    estimated = choose_damping(choice, EstimatedSpectrum(matrix), facts)
    assert estimated.absolute == pytest.approx(exact.absolute, rel=0.15)
