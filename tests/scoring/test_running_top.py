"""Running lists of the strongest, against sorting all scores at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrak_stream.scoring.running_top import EMPTY, RunningTop

# few values, so that ties are common; NaN is a quarantined sample
values = st.sampled_from([-2.5, -1.0, -0.0, 0.0, 1e-30, 1.0, 7.0, float("nan")])
matrices = st.integers(1, 25).flatmap(
    lambda N: st.lists(st.lists(values, min_size=N, max_size=N), min_size=1, max_size=3)
)


def sorted_at_once(scores, count):
    """Indices and scores of the largest of each row, ties by index; -1 and NaN beyond the last."""
    index = np.full((len(scores), count), EMPTY)
    largest = np.full((len(scores), count), np.nan, np.float32)
    for query, row in enumerate(scores):
        usable = np.flatnonzero(~np.isnan(row))
        order = usable[np.argsort(-row[usable], kind="stable")][:count]
        index[query, : len(order)], largest[query, : len(order)] = order, row[order]
    return index, largest


def assert_lists(running, scores, count):
    index, largest = running.listed()
    expected_index, expected_largest = sorted_at_once(scores, count)
    assert np.array_equal(index, expected_index)
    assert np.array_equal(largest, expected_largest, equal_nan=True)
    assert (index.dtype, largest.dtype) == (np.int64, np.float32)


@given(matrices, st.integers(1, 30), st.lists(st.integers(0, 25)))
def test_any_cut_into_blocks_gives_what_sorting_gives(matrix, count, cuts):
    scores = np.array(matrix, np.float32)
    index = np.arange(scores.shape[1])
    running = RunningTop(len(scores), count)
    for block in np.split(index, sorted(cut for cut in cuts if cut <= len(index))):
        running.update(scores[:, block], block)
    assert_lists(running, scores, count)


@given(matrices, st.integers(1, 30), st.integers(1, 10))
def test_joining_lists_of_blocks_gives_what_sorting_gives(matrix, count, width):
    scores = np.array(matrix, np.float32)
    joined = RunningTop(len(scores), count)
    for start in range(0, scores.shape[1], width):
        part = RunningTop(len(scores), count)
        part.update(scores[:, start : start + width], np.arange(scores.shape[1])[start:][:width])
        joined.update(part.scores, part.index)
    assert_lists(joined, scores, count)


def test_nothing_is_listed_before_anything_was_seen():
    assert_lists(RunningTop(2, 3), np.empty((2, 0), np.float32), 3)


def test_lists_of_different_queries_are_apart():
    scores = np.array([[1, 2, 3], [3, 2, 1]], np.float32)
    running = RunningTop(2, 2)
    running.update(scores, np.arange(3))
    assert running.listed()[0].tolist() == [[2, 1], [0, 1]]


def ranked_in_blocks(scores, count, width, errors=None):
    running = RunningTop(len(scores), count)
    for start in range(0, scores.shape[1], width):
        cut = slice(start, start + width)
        index = np.arange(scores.shape[1])[cut]
        running.update(scores[:, cut], index, None if errors is None else errors[:, cut])
    return running


@pytest.mark.parametrize("width", [37, 1000, 3000])
@pytest.mark.parametrize("ties", [1, 30, 10**6])
def test_long_blocks_give_what_sorting_gives(width, ties):
    """Long enough that lists are found by folding; with few ties, and with nothing else."""
    rng = np.random.default_rng(0)
    scores = rng.integers(-ties, ties, size=(6, 3000)).astype(np.float32)
    scores[2] = np.nan
    scores[3, ::2] = np.nan
    scores[4, :2990] = np.nan
    scores[5] = -np.inf
    running = ranked_in_blocks(scores, 7, width)
    index, largest = running.listed()
    expected_index, expected = sorted_at_once(np.where(scores == -np.inf, np.nan, scores), 7)
    assert np.array_equal(index, expected_index)
    assert np.array_equal(largest, expected, equal_nan=True)


@pytest.mark.parametrize("ties", [1, 10**6])
def test_errors_stay_beside_their_scores(ties):
    rng = np.random.default_rng(0)
    scores = rng.integers(-ties, ties, size=(3, 500)).astype(np.float32)
    errors = rng.random(scores.shape, np.float32)
    running = ranked_in_blocks(scores, 5, 200, errors)
    assert np.array_equal(running.errors, np.take_along_axis(errors, running.index, axis=1))


def test_a_longer_list_than_there_are_scores_ends_in_nothing():
    running = ranked_in_blocks(np.arange(4, dtype=np.float32)[None], 6, 3)
    assert running.listed()[0].tolist() == [[3, 2, 1, 0, EMPTY, EMPTY]]
