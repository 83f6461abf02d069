"""The LDS and its uncertainty against slow references."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dtrak_stream.evaluation.lds.estimate import (
    NoiseCeiling,
    RankedColumns,
    estimate_gain,
    estimate_lds,
    noise_ceiling,
    plain_spearman,
    spearman,
)


def slow_spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson correlation of average ranks; 0 for a constant column."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    ranks = scipy.stats.rankdata(first), scipy.stats.rankdata(second)
    return float(np.corrcoef(*ranks)[0, 1])


@given(st.data(), st.integers(3, 12), st.integers(1, 4))
def test_spearman_of_repeated_rows_is_that_of_the_rows_repeated(data, rows, columns):
    few = st.integers(0, 4).map(float)  # many ties
    first = data.draw(arrays.arrays(float, (rows, columns), elements=few))
    second = data.draw(arrays.arrays(float, (rows, columns), elements=few))
    counts = data.draw(arrays.arrays(np.int64, rows, elements=st.integers(0, 3)))
    found = spearman(RankedColumns(first), RankedColumns(second), counts)
    repeated = np.repeat(np.arange(rows), counts)
    expected = [
        slow_spearman(first[repeated, q], second[repeated, q]) if len(repeated) else 0.0
        for q in range(columns)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_spearman_agrees_with_scipy_without_ties():
    first, second = np.random.default_rng(0).normal(size=(2, 30, 5))
    expected = [scipy.stats.spearmanr(first[:, q], second[:, q])[0] for q in range(5)]
    np.testing.assert_allclose(plain_spearman(first, second), expected)


def test_bootstrap_is_that_of_scipy_with_the_authors_seed():
    first, second = np.random.default_rng(1).normal(size=(2, 20, 4))
    second += first

    def statistic(index):
        return np.mean([slow_spearman(first[index, q], second[index, q]) for q in range(4)])

    scipys = scipy.stats.bootstrap(
        (np.arange(20),),
        statistic,
        n_resamples=64,
        vectorized=False,
        method="percentile",
        random_state=np.random.RandomState(42),
    ).bootstrap_distribution
    estimate = estimate_lds(first, second)
    assert estimate.bootstrap_mean == pytest.approx(scipys.mean())
    assert estimate.bootstrap_std == pytest.approx(scipys.std(ddof=1))


def test_standard_error_is_jackknife_over_subsets_and_spread_over_queries():
    first, second = np.random.default_rng(2).normal(size=(2, 9, 6))
    lds = [np.mean(plain_spearman(*np.delete([first, second], m, axis=1))) for m in range(9)]
    per_query = plain_spearman(first, second)
    variance = 8 / 9 * np.square(lds - np.mean(lds)).sum() + per_query.var(ddof=1) / 6
    estimate = estimate_lds(first, second)
    assert estimate.value == pytest.approx(per_query.mean())
    assert estimate.standard_error == pytest.approx(np.sqrt(variance))
    reach = scipy.stats.t.ppf(0.975, 8) * np.sqrt(variance)
    assert (estimate.high - estimate.low) / 2 == pytest.approx(reach)


def test_a_gain_is_the_difference_with_the_error_of_pairs():
    generator = np.random.default_rng(3)
    losses, ours, noise = generator.normal(size=(3, 14, 6))
    ours += losses
    theirs = ours + 0.1 * noise
    gain, error = estimate_gain(ours, theirs, losses)
    values = [estimate_lds(each, losses) for each in (ours, theirs)]
    assert gain == pytest.approx(values[0].value - values[1].value)
    others = [[row for row in range(14) if row != left_out] for left_out in range(14)]
    means = [
        np.mean(plain_spearman(ours[o], losses[o]) - plain_spearman(theirs[o], losses[o]))
        for o in others
    ]
    per_query = values[0].per_query - values[1].per_query
    variance = np.var(means) * 13 + per_query.var(ddof=1) / 6
    assert error == pytest.approx(variance**0.5)
    assert error < values[0].standard_error / 2
    assert estimate_gain(ours, ours, losses) == (0, 0)


def test_interval_covers_the_expected_lds_nineteen_times_in_twenty():
    """Subsets share noise across queries, and queries differ in how predictable they are."""
    generator = np.random.default_rng(3)
    values, covering = [], []
    for _ in range(300):
        predictable = generator.uniform(0.2, 1.0, 15)
        signal = generator.normal(size=(24, 15)) + generator.normal(size=(24, 1))
        losses = predictable * signal + generator.normal(size=(24, 15))
        estimate = estimate_lds(signal, losses, resamples=2)
        values.append(estimate.value)
        covering.append((estimate.low, estimate.high))
    expected = np.mean(values)
    covered = np.mean([low <= expected <= high for low, high in covering])
    assert 0.92 <= covered <= 1.0


def test_losses_that_scores_generated_give_one_and_random_scores_about_zero():
    generator = np.random.default_rng(4)
    mask = generator.permuted(np.tile([True, False], (40, 50)), axis=1)
    scores = generator.normal(size=(30, 100))
    losses = 5.0 - mask @ scores.T
    assert estimate_lds(-(mask @ scores.T), losses).value == pytest.approx(1.0)
    assert estimate_lds(mask @ scores.T, losses).value == pytest.approx(-1.0)
    random = estimate_lds(-(mask @ generator.normal(size=scores.shape).T), losses)
    assert abs(random.value) < 4 / np.sqrt(40 * 30)
    assert random.low < 0 < random.high


def known_ceiling(losses: np.ndarray) -> NoiseCeiling:
    ceiling = noise_ceiling(losses)
    assert ceiling is not None
    return ceiling


def test_ceiling_of_synthetic_seeds_is_what_the_expected_loss_reaches():
    generator = np.random.default_rng(5)
    expected = generator.normal(size=(200, 40))
    for seeds, noise in ((2, 1.0), (3, 1.5)):
        losses = expected + noise * generator.normal(size=(seeds, 200, 40))
        ceiling = known_ceiling(losses)
        reached = estimate_lds(expected, losses.mean(axis=0), resamples=2).value
        assert ceiling.agreement == pytest.approx(1 / (1 + noise**2), abs=0.04)
        assert ceiling.ceiling == pytest.approx(reached, abs=0.03)
        assert ceiling.per_query.shape == (40,)


def test_ceiling_of_seeds_that_disagree_is_zero():
    one = np.arange(12.0).reshape(6, 2)
    assert known_ceiling(np.stack([one, -one])).ceiling == 0.0


def test_ceiling_where_some_subsets_have_one_model_is_what_the_expected_loss_reaches():
    generator = np.random.default_rng(6)
    expected = generator.normal(size=(400, 40))
    losses = expected + generator.normal(size=(2, 400, 40))
    losses[1, 200:] = np.nan
    ceiling = known_ceiling(losses)
    means = np.concatenate([losses[:, :200].mean(axis=0), losses[0, 200:]])
    reached = estimate_lds(expected, means, resamples=2).value
    assert (ceiling.seeds, ceiling.subsets) == (2, 200)
    assert ceiling.agreement == known_ceiling(losses[:, :200]).agreement
    assert ceiling.ceiling == pytest.approx(reached, abs=0.02)
    assert ceiling.ceiling < known_ceiling(losses[:, :200]).ceiling - 0.03


def test_ceiling_is_not_known_of_two_repeated_subsets():
    losses = np.random.default_rng(7).normal(size=(2, 6, 5))
    losses[1, 2:] = np.nan
    assert noise_ceiling(losses) is None
