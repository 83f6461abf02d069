"""The strongest of blocks of scores, each held against those before it, against one sort of all."""

from __future__ import annotations

import numpy as np
import pytest

from dtrak_stream.scoring.list_floors import ListFloors
from dtrak_stream.scoring.rankings import JoinedLists, ranked_part
from dtrak_stream.scoring.running_top import EMPTY
from tests.scoring.test_running_top import sorted_at_once

COUNT = 7


def scores_of(kind):
    """Scores (2, 5, 900) of two lambdas: three queries with many, one with few, one with none."""
    rng = np.random.default_rng(3)
    scores = rng.standard_normal((2, 5, 900)).astype(np.float32)
    if kind == "rising":
        scores += np.linspace(0, 50, 900, dtype=np.float32)
    if kind == "tied":
        scores = np.round(scores)
    scores[:, 3, 4:] = np.nan
    scores[:, 4] = np.nan
    return scores


def parts_of(scores, width, errors=None):
    floors = ListFloors(len(scores), scores.shape[1], COUNT)
    for start in range(0, scores.shape[2], width):
        columns = range(start, min(start + width, scores.shape[2]))
        cut = slice(columns.start, columns.stop)
        error = None if errors is None else errors[..., cut]
        yield ranked_part(scores[..., cut], error, columns, floors, save_scores=False)


def joined(parts, each):
    lists = JoinedLists(COUNT)
    for part in parts:
        lists.add(part, each)
    return lists.arrays()


@pytest.mark.parametrize("kind", ["random", "rising", "falling", "tied"])
@pytest.mark.parametrize("width", [3, 64, 900])
@pytest.mark.parametrize("each", [0, 1])
def test_lists_of_blocks_are_joined_to_those_of_one_sort(kind, width, each):
    scores = -scores_of("rising") if kind == "falling" else scores_of(kind)
    found = joined(parts_of(scores, width), each)
    for end, sign in (("top", 1), ("bottom", -1)):
        index, largest = sorted_at_once(sign * scores[each], COUNT)
        assert np.array_equal(found[f"{end}_index"], index)
        assert np.array_equal(found[f"{end}_score"], sign * largest, equal_nan=True)


@pytest.mark.parametrize("kind", ["random", "tied"])
def test_errors_are_joined_beside_their_scores(kind):
    scores = scores_of(kind)
    errors = np.random.default_rng(1).random(scores.shape, np.float32)
    found = joined(parts_of(scores, 64, errors), 1)
    for end in ("top", "bottom"):
        index = found[f"{end}_index"]
        beside = np.take_along_axis(errors[1], np.maximum(index, 0), axis=1)
        assert np.array_equal(
            found[f"{end}_score_error"], np.where(index == EMPTY, np.nan, beside), equal_nan=True
        )


def test_a_run_that_goes_on_after_some_blocks_joins_to_the_same_lists():
    scores = scores_of("rising")
    whole = list(parts_of(scores, 100))
    floors = ListFloors(
        len(scores), scores.shape[1], COUNT
    )  # of the call after: it knows none of the first
    later = [
        ranked_part(scores[..., s : s + 100], None, range(s, s + 100), floors, save_scores=False)
        for s in range(500, 900, 100)
    ]
    once, resumed = joined(whole, 0), joined([*whole[:5], *later], 0)
    assert all(np.array_equal(once[name], resumed[name], equal_nan=True) for name in once)


def test_a_block_in_which_little_stands_out_is_kept_as_short_lists():
    scores = np.tile(np.linspace(9, 1, 900, dtype=np.float32), (1, 2, 1))
    scores[0, 0, 880] = 10
    first, *_, last = parts_of(scores, 100)
    assert first["top_index"].shape == (1, 2, COUNT)
    assert last["top_index"].tolist() == [[[880], [EMPTY]]]
    assert last["bottom_index"].shape == (1, 2, COUNT)
