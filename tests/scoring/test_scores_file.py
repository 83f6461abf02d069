"""Reading a scores file (its other refusals are tested with the report, which makes them)."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import dtrak_stream.scoring.scores_file as scores_file_module
from dtrak_stream.errors import CorruptFileError, InputError
from dtrak_stream.scoring.scores_file import Ranked, ScoresFile
from tests.scoring.conftest import attribution_of, read, whole_numbers


@pytest.fixture
def scored(tmp_path):
    """Scores of 12 samples, one of them quarantined, for 3 queries; lists of all 12."""
    train = whole_numbers(12, 64)
    train[4] = np.nan
    return attribution_of(tmp_path, train, whole_numbers(3, 64, 1)).score(top_k=12).path


def changed(path, name, place, value):
    with h5py.File(path, "r+") as file:
        file[name][place] = value


def test_rankings_are_read_with_ranks_rows_and_scores(scored):
    scores = read(scored)["scores"]
    with ScoresFile(scored) as file:
        for query, row in enumerate(scores):
            best = [int(n) for n in np.argsort(-row) if n != 4]
            expected = [Ranked(i + 1, n, float(row[n])) for i, n in enumerate(best)]
            assert file.top(query, 5) == expected[:5]
            lowest = [Ranked(i + 1, n, float(row[n])) for i, n in enumerate(best[::-1])]
            assert file.bottom(query, 5) == lowest[:5]


def test_rankings_are_read_with_the_errors_of_their_scores(tmp_path):
    run = attribution_of(tmp_path, whole_numbers(12, 64), whole_numbers(3, 64, 1))
    with ScoresFile(run.score(damping="0.1", error_bars=True, top_k=6).path) as file:
        for query in range(3):
            errors = file.errors(query)
            for ranked in (file.top(query, 4), file.bottom(query, 4)):
                assert [one.error for one in ranked] == [errors[one.index] for one in ranked]
                assert len({one.error for one in ranked}) > 1


def test_slots_without_a_sample_are_left_out(scored):
    with ScoresFile(scored) as file:
        assert len(file.top(0, 100)) == 11
        assert len(file.bottom(0, 100)) == 11
        assert (file.top_indices(100)[:, 11] == -1).all()


def test_ids_counts_and_attributes_are_plain_values(scored):
    with ScoresFile(scored) as file:
        assert (file.query_count, file.train_count) == (3, 12)
        assert (file.query_id(2), file.train_id(11)) == ("query-2", "train-11")
        assert file.has_all_scores
        assert file.attributes["top_k"] == 12
        assert file.attributes["has_all_scores"] is True
        assert {type(value) for value in file.attributes.values()} == {str, int, float, bool}
        assert list(file.attributes) == sorted(file.attributes)


def test_scores_are_read_by_query_and_in_bounded_blocks(scored, monkeypatch):
    scores = read(scored)["scores"]
    for bound in (5, 12, 24, 1000):
        monkeypatch.setattr(scores_file_module, "_BLOCK_SCORES", bound)
        with ScoresFile(scored) as file:
            blocks = list(file.score_blocks())
            assert np.array_equal(file.scores(1), scores[1], equal_nan=True)
        assert all(block.size <= bound for block in blocks)
        flat = np.concatenate([block.ravel() for block in blocks])
        assert np.array_equal(flat, scores.ravel(), equal_nan=True)


def test_the_range_is_that_of_all_scores(scored):
    scores = read(scored)["scores"]
    with ScoresFile(scored) as file:
        assert file.score_range() == (np.nanmin(scores), np.nanmax(scores))


def test_a_file_without_any_score_has_no_range(scored):
    for name in ("top_score", "bottom_score"):
        changed(scored, name, slice(None), np.nan)
    with ScoresFile(scored) as file:
        assert file.score_range() is None


@pytest.mark.parametrize("end", ["top", "bottom"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_ranked_score_that_is_no_number_is_refused(scored, end, value):
    changed(scored, f"{end}_score", (1, 3), value)
    with ScoresFile(scored) as file:
        assert len(getattr(file, end)(1, 3)) == 3
        with pytest.raises(CorruptFileError, match="a ranked score of query 1 is not a number"):
            getattr(file, end)(1, 4)


@pytest.mark.parametrize("index", [-2, 12])
def test_an_index_out_of_range_is_refused_however_it_is_read(scored, index):
    changed(scored, "top_index", (2, 0), index)
    with ScoresFile(scored) as file:
        assert len(file.top(0, 5)) == 5
        with pytest.raises(CorruptFileError, match="outside 0 to 11"):
            file.top(2, 1)
        with pytest.raises(CorruptFileError, match="outside 0 to 11"):
            file.top_indices(1)


@pytest.mark.parametrize("name", ["top_score", "bottom_index", "bottom_score"])
def test_rankings_of_other_shapes_are_refused(scored, name):
    with h5py.File(scored, "r+") as file:
        del file[name]
        file[name] = np.zeros((3, 11))
    with pytest.raises(CorruptFileError, match=rf"{name} has shape \(3, 11\).*wants \(3, 12\)"):
        ScoresFile(scored)


def test_scores_transformed_in_a_way_not_known_here_are_refused_by_its_name(scored):
    with h5py.File(scored, "r+") as file:
        file.attrs["transform"] = "cube"
    with pytest.raises(InputError, match=r"not known here \(cube\); read it with the version"):
        ScoresFile(scored)


def test_a_file_in_use_is_closed_with_its_block_and_after_a_refusal(scored):
    with ScoresFile(scored):
        pass
    changed(scored, "top_index", (0, 0), 99)  # HDF5 opens no file for writing that is open
    with h5py.File(scored, "r+") as file:
        del file["query_id"]
    with pytest.raises(Exception, match="it has no query_id"):
        ScoresFile(scored)
    with h5py.File(scored, "r+") as file:
        assert "query_id" not in file


def test_everything_that_a_file_lacks_is_named_with_the_errors_of_its_scores(tmp_path):
    run = attribution_of(tmp_path, whole_numbers(12, 64), whole_numbers(3, 64, 1))
    path = run.score(damping="0.1", error_bars=True).path
    with h5py.File(path, "r+") as file:
        for name in ("query_id", "top_score", "top_score_error"):
            del file[name]
    with pytest.raises(InputError, match="it has no query_id, top_score, top_score_error;"):
        ScoresFile(path)
