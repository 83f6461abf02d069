"""Differences of methods over the same queries, with error bars."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from dtrak_stream.evaluation.counterfactual.differences import differences, mean_and_error
from dtrak_stream.evaluation.counterfactual.results import (
    LOSS,
    PIXELS,
    CounterfactualResults,
    MethodResults,
)
from dtrak_stream.evaluation.counterfactual.summary import markdown, write_page

RANDOM = np.array([[1.0, 3.0], [2.0, 2.0], [5.0, 7.0]])  # (queries, repetitions)
FIRST = np.array([[4.0], [3.0], [10.0]])
SECOND = np.array([[4.5], [3.5], [10.5]])


def results_of(queries):
    image = np.zeros((2, 2, 1), np.uint8)
    methods = [
        MethodResults(
            name, {PIXELS: values[:queries], LOSS: values[:queries] / 8}, [image] * queries
        )
        for name, values in (("random", RANDOM), ("a", FIRST), ("b & c", SECOND))
    ]
    return CounterfactualResults(tuple(range(queries)), [image] * queries, methods, 5)


def test_each_query_is_compared_with_itself():
    found = {
        each.name: each
        for each in differences([("random", RANDOM), ("a", FIRST), ("b & c", SECOND)])
    }
    assert list(found) == ["a - random", "b & c - random", "b & c - a"]
    of_each = [4 - 2, 3 - 2, 10 - 6]
    assert found["a - random"].mean == pytest.approx(statistics.mean(of_each))
    assert found["a - random"].error == pytest.approx(statistics.stdev(of_each) / math.sqrt(3))
    # queries differ, and what the second does beyond the first does not
    assert (found["b & c - a"].mean, found["b & c - a"].error) == pytest.approx((0.5, 0))


def test_an_error_is_as_large_as_means_of_other_queries_differ():
    drawn = np.random.default_rng(0).normal(3, 2, (4000, 50))
    means, errors = np.array([mean_and_error(each) for each in drawn]).T
    assert means.std() == pytest.approx(errors.mean(), rel=0.05)


def test_one_query_has_no_error():
    assert math.isnan(mean_and_error(np.array([2.0]))[1])


def test_summary_page_and_json_tell_them(tmp_path):
    results = results_of(3)
    row = "| b & c - a | 0.5 +- 0 | 0.0625 +- 0 |"
    assert row in markdown(results).splitlines()
    assert "| difference | mean pixel L2 | mean loss change |" in markdown(results)
    write_page(tmp_path / "index.html", results, [])
    page = (tmp_path / "index.html").read_text()
    assert "<td>b &amp; c - a</td><td>0.5 +- 0</td><td>0.0625 +- 0</td>" in page
    assert results.as_json()["differences"][LOSS]["b & c - a"] == pytest.approx([0.0625, 0])


def test_a_single_query_is_shown_without_differences(tmp_path):
    results = results_of(1)
    assert "difference" not in markdown(results)
    assert results.as_json()["differences"] == {}
    write_page(tmp_path / "index.html", results, [])
    assert "difference" not in (tmp_path / "index.html").read_text()
