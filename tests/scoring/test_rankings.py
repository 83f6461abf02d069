"""Running lists of the strongest, against sorting all scores at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dtrak_stream.scoring.rankings import EMPTY, RunningTop

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
