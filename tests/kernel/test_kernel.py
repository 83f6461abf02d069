"""The damped kernel against direct linear algebra in float64, and the choice of lambda."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.kernel.damping import Damping, GramFacts, choose_damping, parse_dampings
from dtrak_stream.kernel.matrix import MatrixInMemory, moments_of
from dtrak_stream.kernel.solvers import CholeskyKernel
from dtrak_stream.kernel.spectrum import ExactSpectrum, damping_for_freedom, exact_spectrum


def features(samples, proj_dim, seed=0):
    return np.random.default_rng(seed).normal(size=(samples, proj_dim))


def facts(samples, proj_dim, gram, share=0.15):
    return GramFacts(samples, proj_dim, share, 3 * share, moments_of(MatrixInMemory(gram)))


def chosen(text, gram, samples, proj_dim, share=0.15):
    (choice,) = parse_dampings(text).each
    return choose_damping(choice, exact_spectrum(gram), facts(samples, proj_dim, gram, share))


def cholesky(gram, damping):
    return CholeskyKernel(gram.copy(), damping, exact_spectrum(gram))


def damping(value):
    return Damping(value, value, 1.0)


sizes = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 5))


@given(sizes, st.floats(1e-3, 1e3))
def test_solve_is_a_product_with_the_inverse(size, value):
    samples, proj_dim, queries = size
    phi, rows = features(samples, proj_dim), features(queries, proj_dim, 1)
    gram = phi.T @ phi
    expected = rows @ np.linalg.inv(gram + value * np.eye(proj_dim))
    assert np.allclose(cholesky(gram, damping(value)).solve(rows)[0], expected)


@given(sizes, st.floats(1e-2, 1e2))
def test_primal_equals_dual(size, value):
    samples, proj_dim, queries = size
    phi, rows = features(samples, proj_dim), features(queries, proj_dim, 1)
    primal = cholesky(phi.T @ phi, damping(value)).solve(rows)[0] @ phi.T
    dual = cholesky(phi @ phi.T, damping(value)).solve(rows @ phi.T)[0]
    assert np.allclose(primal, dual)


@given(sizes, st.floats(1e-3, 1e3))
def test_effective_freedom_is_the_sum_over_eigenvalues(size, value):
    samples, proj_dim, _ = size
    phi = features(samples, proj_dim)
    gram = phi.T @ phi
    expected = sum(w / (w + value) for w in np.linalg.eigvalsh(gram))
    assert exact_spectrum(gram).freedom(value) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_leverage_lies_below_one():
    phi = features(20, 8)
    kernel = cholesky(phi.T @ phi, damping(0.5))
    leverage = np.einsum("nk,nk->n", kernel.solve(phi)[0], phi)
    assert (leverage >= 0).all()
    assert (leverage < 1).all()


def test_large_damping_gives_gradient_dot_products():
    phi, rows = features(20, 8), features(3, 8, 1)
    huge = 1e12
    scores = huge * cholesky(phi.T @ phi, damping(huge)).solve(rows)[0] @ phi.T
    assert np.allclose(scores, rows @ phi.T, rtol=1e-6)


@given(st.integers(2, 40), st.floats(0.02, 0.9), st.integers(0, 5))
def test_damping_for_freedom_reaches_it(size, share, seed):
    eigenvalues = np.random.default_rng(seed).gamma(0.3, size=size) + 1e-6
    wanted = share * size
    spectrum = ExactSpectrum(eigenvalues)
    found = damping_for_freedom(spectrum, wanted)
    assert spectrum.freedom(found) == pytest.approx(wanted, rel=1e-4)


def test_freedom_beyond_the_rank_gives_a_damping_that_is_almost_nothing():
    eigenvalues = np.array([5.0, 1.0, 0.0, -1e-18])
    found = damping_for_freedom(ExactSpectrum(eigenvalues), 3.0)
    assert 0 < found < 1e-12


@pytest.mark.parametrize("share", [0.15, 0.12])
def test_auto_gives_the_share_of_n_that_is_asked_for(share):
    phi = features(60, 200)
    gram = phi @ phi.T
    damping = chosen("auto", gram, 60, 200, share)
    freedom = exact_spectrum(gram).freedom(damping.absolute)
    assert freedom == pytest.approx(share * 60, rel=1e-6)


def test_auto_does_not_depend_on_the_form():
    phi = features(60, 200)
    primal = chosen("auto", phi.T @ phi, 60, 200)
    dual = chosen("auto", phi @ phi.T, 60, 200)
    assert primal.absolute == pytest.approx(dual.absolute, rel=1e-6)
    assert primal.relative == pytest.approx(dual.relative, rel=1e-6)


def test_auto_stays_above_the_rounding_of_float32_products():
    phi = features(40, 3) @ features(3, 64, 1)
    gram = (phi.astype(np.float32).T @ phi.astype(np.float32)).astype(np.float64)
    eigenvalues = np.linalg.eigvalsh(gram)
    damping = chosen("auto", gram, 40, 64)
    assert damping.absolute > 10 * -eigenvalues.min() > 0
    assert damping.absolute < 1e-5 * eigenvalues.max()
    cholesky(gram, damping)


def test_auto_asks_for_fewer_degrees_when_features_are_short():
    few = facts(100_000, 1024, np.eye(2)).wanted_freedom
    assert few < 0.45 * 1024
    assert few < facts(100_000, 4096, np.eye(2)).wanted_freedom < 0.15 * 100_000


def test_auto_asks_for_the_share_of_n_until_n_exceeds_k():
    at = facts(1024, 1024, np.eye(2)).wanted_freedom
    assert at == 0.15 * 1024
    assert facts(1025, 1024, np.eye(2)).wanted_freedom < at


def test_relative_damping_is_in_units_of_the_mean_eigenvalue():
    phi = features(10, 30)
    gram = phi @ phi.T
    damping = chosen("0.1", gram, 10, 30)
    assert damping.absolute == pytest.approx(0.1 * np.linalg.eigvalsh(gram).mean())
    assert damping.relative == pytest.approx(0.1)


def test_absolute_damping_is_taken_as_it_is():
    phi = features(10, 30)
    damping = chosen("abs:500", phi @ phi.T, 10, 30)
    assert damping.absolute == 500
    assert damping.relative == pytest.approx(500 / damping.mean_eigenvalue)


@pytest.mark.parametrize("choice", ["-1", "abs:-1", "rel:3", "much", "nan", "inf", "abs:", ""])
def test_an_impossible_damping_is_refused(choice):
    with pytest.raises(ConfigurationError) as refusal:
        parse_dampings(choice)
    assert str(refusal.value).startswith(f"--damping {choice}: not a damping; use auto, ")


def test_a_zero_gram_is_refused():
    with pytest.raises(ConfigurationError, match=r"^training features: the Gram matrix is zero"):
        chosen("auto", np.zeros((3, 3)), 3, 3)


@pytest.mark.parametrize("choice", ["0", "abs:0"])
def test_no_damping_at_all_is_for_matrices_of_full_rank(choice):
    assert chosen(choice, np.diag([1.0, 2.0]), 2, 2).absolute == 0
    with pytest.raises(ConfigurationError) as refusal:
        chosen(choice, np.diag([1.0, 2.0, 0.0]), 3, 3)
    assert str(refusal.value).startswith(
        "damping 0 (0 of the mean eigenvalue): the Gram matrix (3 x 3) with this damping is "
        "singular: its rank is about 2; use --damping auto"
    )


def test_an_exact_spectrum_knows_its_ends_its_sum_and_its_rank():
    spectrum = ExactSpectrum(np.array([0.5, 4.0, 2.0]))
    assert (spectrum.smallest, spectrum.largest) == (0.5, 4.0)
    assert (spectrum.size, spectrum.trace, spectrum.rank) == (3, 6.5, 3)
    assert spectrum.freedom_error(7.0) == 0
    rounded = ExactSpectrum(np.array([-1e-9, 1e-9, 4.0]))
    assert (rounded.smallest, rounded.rank) == (0.0, 1)


def test_a_singular_gram_without_damping_is_refused():
    with pytest.raises(ConfigurationError, match=r"singular.*--damping auto"):
        cholesky(np.zeros((3, 3)), damping(0.0))
