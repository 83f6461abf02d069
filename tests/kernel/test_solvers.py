"""Every way to apply the damped kernel against the inverse in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.kernel.damping import Damping
from dtrak_stream.kernel.matrix import MatrixInMemory
from dtrak_stream.kernel.solvers import CholeskyKernel, Eigendecomposition, IterativeKernel
from dtrak_stream.kernel.spectrum import exact_spectrum
from tests.kernel.test_spectrum import InBlocks, gram_of

sizes = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 5))
lambdas = st.lists(st.floats(1e-2, 1e2), min_size=1, max_size=4)


def dampings(values):
    return [Damping(value, value, 1.0) for value in values]


def expected(gram, rows, values):
    return np.stack([rows @ np.linalg.inv(gram + value * np.eye(len(gram))) for value in values])


@given(sizes, lambdas)
def test_one_eigendecomposition_solves_for_every_lambda(size, values):
    samples, dim, count = size
    phi = np.random.default_rng(0).normal(size=(samples, dim))
    rows = np.random.default_rng(1).normal(size=(count, dim))
    gram = phi.T @ phi
    kernel = Eigendecomposition(gram.copy()).kernel(dampings(values))
    assert kernel.count == len(values)
    assert np.allclose(kernel.solve(rows), expected(gram, rows, values))


@settings(deadline=None)
@given(sizes, lambdas, st.integers(1, 12))
def test_conjugate_gradients_solve_for_every_lambda(size, values, rows_at_a_time):
    samples, dim, count = size
    phi = np.random.default_rng(0).normal(size=(samples, dim))
    rows = np.random.default_rng(1).normal(size=(count, dim))
    rows[0] = 0
    gram = phi.T @ phi
    solved = IterativeKernel(InBlocks(gram, rows_at_a_time), dampings(values)).solve(rows)
    assert np.allclose(solved, expected(gram, rows, values), rtol=1e-6, atol=1e-8)


def test_all_solvers_agree_on_an_ill_conditioned_matrix():
    gram, rows = gram_of(150, 2.0, 150), np.random.default_rng(1).normal(size=(4, 150))
    values, (damping,) = [1e-5], dampings([1e-5])
    cholesky = CholeskyKernel(gram.copy(), damping, exact_spectrum(gram)).solve(rows)
    vectors = Eigendecomposition(gram.copy()).kernel(dampings(values)).solve(rows)
    gradients = IterativeKernel(MatrixInMemory(gram), dampings(values)).solve(rows)
    scale = np.abs(cholesky).max()
    assert np.abs(vectors - cholesky).max() < 1e-9 * scale
    assert np.abs(gradients - cholesky).max() < 1e-6 * scale


def test_the_cholesky_factor_takes_the_place_of_the_matrix():
    gram = gram_of(20, 1.0, 20)
    (damping,) = dampings([0.1])
    kernel = CholeskyKernel(gram, damping, exact_spectrum(gram.copy()))
    assert np.shares_memory(kernel._factor, gram)


def test_conjugate_gradients_that_do_not_converge_are_refused(monkeypatch):
    monkeypatch.setattr("dtrak_stream.kernel.solvers.MAX_ITERATIONS", 3)
    gram, rows = gram_of(50, 1.0, 50), np.ones((2, 50))
    refused = "^damping 1e-06: 2 of 2 solutions did not converge in 3"
    with pytest.raises(ConfigurationError, match=refused):
        IterativeKernel(MatrixInMemory(gram), dampings([1e-6])).solve(rows)


def test_conjugate_gradients_go_as_far_as_the_tolerance_and_no_further(monkeypatch):
    monkeypatch.setattr("dtrak_stream.kernel.solvers.TOLERANCE", 1e-2)
    gram, rows = gram_of(60, 1.0, 60), np.random.default_rng(1).normal(size=(4, 60))
    (solved,) = IterativeKernel(MatrixInMemory(gram), dampings([1e-3])).solve(rows)
    residual = solved @ (gram + 1e-3 * np.eye(60)) - rows
    share = np.linalg.norm(residual, axis=1) / np.linalg.norm(rows, axis=1)
    assert ((share > 2e-3) & (share <= 1e-2 * (1 + 1e-9))).all()
