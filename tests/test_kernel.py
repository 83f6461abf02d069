"""The damped kernel against direct linear algebra in float64, and the choice of lambda."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.kernel import (
    DampedKernel,
    Damping,
    GramFacts,
    choose_damping,
    damping_for_freedom,
    effective_freedom,
)


def features(samples, proj_dim, seed=0):
    return np.random.default_rng(seed).normal(size=(samples, proj_dim))


def facts(samples, proj_dim, transform="none"):
    return GramFacts(samples, proj_dim, transform)


def damping(value):
    return Damping(value, value, 1.0)


sizes = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 5))


@given(sizes, st.floats(1e-3, 1e3))
def test_solve_is_a_product_with_the_inverse(size, value):
    samples, proj_dim, queries = size
    phi, rows = features(samples, proj_dim), features(queries, proj_dim, 1)
    gram = phi.T @ phi
    expected = rows @ np.linalg.inv(gram + value * np.eye(proj_dim))
    assert np.allclose(DampedKernel(gram.copy(), damping(value)).solve(rows), expected)


@given(sizes, st.floats(1e-2, 1e2))
def test_primal_equals_dual(size, value):
    samples, proj_dim, queries = size
    phi, rows = features(samples, proj_dim), features(queries, proj_dim, 1)
    primal = DampedKernel(phi.T @ phi, damping(value)).solve(rows) @ phi.T
    dual = DampedKernel(phi @ phi.T, damping(value)).solve(rows @ phi.T)
    assert np.allclose(primal, dual)


@given(sizes, st.floats(1e-3, 1e3))
def test_effective_freedom_is_the_sum_over_eigenvalues(size, value):
    samples, proj_dim, _ = size
    phi = features(samples, proj_dim)
    gram = phi.T @ phi
    expected = sum(w / (w + value) for w in np.linalg.eigvalsh(gram))
    kernel = DampedKernel(gram.copy(), damping(value))
    assert kernel.effective_freedom() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_leverage_lies_below_one():
    phi = features(20, 8)
    kernel = DampedKernel(phi.T @ phi, damping(0.5))
    leverage = np.einsum("nk,nk->n", kernel.solve(phi), phi)
    assert (leverage >= 0).all()
    assert (leverage < 1).all()


def test_large_damping_gives_gradient_dot_products():
    phi, rows = features(20, 8), features(3, 8, 1)
    huge = 1e12
    scores = huge * DampedKernel(phi.T @ phi, damping(huge)).solve(rows) @ phi.T
    assert np.allclose(scores, rows @ phi.T, rtol=1e-6)


@given(st.integers(2, 40), st.floats(0.02, 0.9), st.integers(0, 5))
def test_damping_for_freedom_reaches_it(size, share, seed):
    eigenvalues = np.random.default_rng(seed).gamma(0.3, size=size) + 1e-6
    wanted = share * size
    found = damping_for_freedom(eigenvalues, wanted)
    assert effective_freedom(eigenvalues, found) == pytest.approx(wanted, rel=1e-4)


def test_freedom_beyond_the_rank_gives_a_damping_that_is_almost_nothing():
    eigenvalues = np.array([5.0, 1.0, 0.0, -1e-18])
    found = damping_for_freedom(eigenvalues, 3.0)
    assert 0 < found < 1e-12


@pytest.mark.parametrize(("transform", "share"), [("none", 0.15), ("square", 0.07)])
def test_auto_gives_the_share_of_n_that_was_measured(transform, share):
    phi = features(60, 200)
    gram = phi @ phi.T
    chosen = choose_damping("auto", gram, facts(60, 200, transform))
    freedom = effective_freedom(np.linalg.eigvalsh(gram), chosen.absolute)
    assert freedom == pytest.approx(share * 60, rel=1e-6)


def test_auto_does_not_depend_on_the_form():
    phi = features(60, 200)
    primal = choose_damping("auto", phi.T @ phi, facts(60, 200))
    dual = choose_damping("auto", phi @ phi.T, facts(60, 200))
    assert primal.absolute == pytest.approx(dual.absolute, rel=1e-6)
    assert primal.relative == pytest.approx(dual.relative, rel=1e-6)


def test_auto_stays_above_the_rounding_of_float32_products():
    phi = features(40, 3) @ features(3, 64, 1)
    gram = (phi.astype(np.float32).T @ phi.astype(np.float32)).astype(np.float64)
    eigenvalues = np.linalg.eigvalsh(gram)
    chosen = choose_damping("auto", gram, facts(40, 64))
    assert chosen.absolute > 10 * -eigenvalues.min() > 0
    assert chosen.absolute < 1e-5 * eigenvalues.max()
    DampedKernel(gram, chosen)


def test_auto_asks_for_fewer_degrees_when_features_are_short():
    few = facts(100_000, 1024).wanted_freedom
    assert few < 0.45 * 1024
    assert few < facts(100_000, 4096).wanted_freedom < 0.15 * 100_000


def test_relative_damping_is_in_units_of_the_mean_eigenvalue():
    phi = features(10, 30)
    gram = phi @ phi.T
    chosen = choose_damping("0.1", gram, facts(10, 30))
    assert chosen.absolute == pytest.approx(0.1 * np.linalg.eigvalsh(gram).mean())
    assert chosen.relative == pytest.approx(0.1)


def test_absolute_damping_is_taken_as_it_is():
    phi = features(10, 30)
    chosen = choose_damping("abs:500", phi @ phi.T, facts(10, 30))
    assert chosen.absolute == 500
    assert chosen.relative == pytest.approx(500 / chosen.mean_eigenvalue)


@pytest.mark.parametrize("choice", ["-1", "abs:-1", "rel:3", "much", "nan", "inf", "abs:", ""])
def test_an_impossible_damping_is_refused(choice):
    with pytest.raises(ConfigurationError, match="--damping"):
        choose_damping(choice, np.eye(3), facts(3, 3))


def test_a_zero_gram_is_refused():
    with pytest.raises(ConfigurationError, match="the Gram matrix is zero"):
        choose_damping("auto", np.zeros((3, 3)), facts(3, 3))


def test_a_singular_gram_without_damping_is_refused():
    with pytest.raises(ConfigurationError, match=r"singular.*--damping auto"):
        DampedKernel(np.zeros((3, 3)), damping(0.0))
