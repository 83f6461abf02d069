"""What of a query lies out of the kernel's reach is told, by the form that the kernel has."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scoring.conftest import attributes, attribution_of, whole_numbers
from tests.scoring.test_damping_lists import groups


def left_over(train, query, damping):
    """Return the mean of lambda phi^T (Phi^T Phi + lambda I)^-1 phi / |phi|^2, in float64."""
    train, query = train.astype(np.float64), query.astype(np.float64)
    kernel = train.T @ train + damping * np.eye(train.shape[1])
    shares = [damping * row @ np.linalg.solve(kernel, row) / (row @ row) for row in query]
    return np.mean(shares)


@pytest.mark.parametrize("samples", [24, 80])
@pytest.mark.parametrize("blocks", [1, 5])
def test_leakage_is_what_each_kernel_leaves_of_every_other_query_of_70(tmp_path, samples, blocks):
    train, query = whole_numbers(samples, 64), whole_numbers(70, 64, 1)
    run = attribution_of(tmp_path, train, query)
    limit = run.smallest_limit(blocks, damping="abs:1,abs:500,auto")
    run.score(damping="abs:1,abs:500,auto", memory_limit=limit)
    told = [facts for _, facts in groups(run.out)]
    for facts in told:
        expected = left_over(train, query[::2], facts["damping_absolute"])
        assert facts["leakage"] == pytest.approx(expected, rel=1e-4)
    assert 0 < told[0]["leakage"] < told[1]["leakage"] < 1


def test_queries_among_training_features_leak_nothing_and_others_all(tmp_path):
    train = np.eye(64, dtype=np.float32)[:24]
    apart = np.eye(64, dtype=np.float32)[40:44]
    for query, expected in ((train[:4], 0), (apart, 1)):
        run = attribution_of(tmp_path / str(expected), train, query)
        run.score(damping="abs:1e-6")
        assert attributes(run.out)["leakage"] == pytest.approx(expected, abs=1e-5)


def test_queries_that_are_zero_have_no_share(tmp_path):
    query = np.zeros((3, 64), np.float32)
    query[1] = whole_numbers(1, 64)
    run = attribution_of(tmp_path, whole_numbers(80, 64), query)
    run.score(damping="abs:500")
    facts = attributes(run.out)
    assert facts["leakage"] == pytest.approx(left_over(whole_numbers(80, 64), query[1:2], 500))


def test_it_is_said(tmp_path, capsys):
    run = attribution_of(tmp_path, whole_numbers(80, 64), whole_numbers(5, 64, 1))
    run.score(damping="abs:500")
    facts = attributes(run.out)
    text = capsys.readouterr().err
    assert f"of queries' |phi|^2, {100 * facts['leakage']:.3g} % lies where no" in text
    freedom = facts["effective_dimension"]
    assert f"{freedom / 80:.3g} N and {freedom / 64:.3g} k (N = 80, k = 64, " in text
