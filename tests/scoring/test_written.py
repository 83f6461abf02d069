"""What a scores file holds, and what it is called."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.scoring.conftest import (
    attributes,
    attribution_of,
    close,
    formula,
    read,
    whole_numbers,
)

TRAIN, QUERY = whole_numbers(24, 64), whole_numbers(5, 64, 1)


def test_the_file_holds_what_the_design_says(small):
    small.score(top_k=10)
    content = read(small.out)
    expected = {
        "scores": (np.dtype(np.float32), (5, 24)),
        "top_index": (np.dtype(np.int64), (5, 10)),
        "top_score": (np.dtype(np.float32), (5, 10)),
        "bottom_index": (np.dtype(np.int64), (5, 10)),
        "bottom_score": (np.dtype(np.float32), (5, 10)),
        "query_id": (np.dtype("S7"), (5,)),
        "train_id": (np.dtype("S8"), (24,)),
    }
    assert {name: (array.dtype, array.shape) for name, array in content.items()} == expected
    assert content["query_id"].tolist() == [f"query-{row}".encode() for row in range(5)]
    assert content["train_id"].tolist() == [f"train-{row}".encode() for row in range(24)]


def test_the_attributes_say_how_the_scores_came_about(small):
    small.score(top_k=10, damping="abs:500", transform="square")
    facts = attributes(small.out)
    sign = facts.pop("sign_convention")
    assert sign.startswith("positive = proponent: including the sample lowers the query's loss")
    assert facts.pop("mean_eigenvalue") * facts.pop("damping_relative") == pytest.approx(500)
    assert 0 < facts.pop("effective_dimension") < 24
    eigenvalues = np.linalg.eigvalsh(TRAIN.astype(np.float64) @ TRAIN.T)
    condition = (eigenvalues.max() + 500) / (eigenvalues.min() + 500)
    assert facts.pop("condition") == pytest.approx(condition)
    assert 0 < facts.pop("leakage") < 1
    assert len(facts.pop("checksum")) == 32
    assert facts == {
        "method": "d-trak",
        "transform": "square",
        "damping": "abs:500",
        "damping_absolute": 500,
        "effective_dimension_error": 0,
        "rank": 24,
        "kernel_solver": "cholesky",
        "device": "cpu",
        "tf32": False,
        "num_models": 1,
        "checkpoint_weights": "equal",
        "error_bars": False,
        "seen": "off",
        "top_k": 10,
        "has_all_scores": True,
        "gram_form": "dual",
        "train_fingerprint": small.train.fingerprint.hash(),
        "query_fingerprint": small.query.fingerprint.hash(),
        "output_function": "square",
        "timesteps": "0,500",
        "noise": "shared",
        "noise_draws": 1,
        "projector": "sketch",
        "proj_dim": 64,
        "num_parameters": 100,
        "seed": 0,
        "image_shape": "1x8x8",
        "train_samples": 24,
        "query_samples": 5,
        "train_images": "train",
        "query_images": "query",
        "quarantined_train": 0,
        "quarantined_query": 0,
        "train_store": "train",
        "query_store": "query",
    }


def test_lists_are_no_longer_than_the_training_set(small):
    small.score(top_k=1000)
    assert read(small.out)["top_index"].shape == (5, 24)


@pytest.mark.parametrize("transform", ["none", "square"])
def test_rankings_are_the_same_without_the_scores(small, transform):
    options = {"top_k": 6, "transform": transform}
    whole = small.score(small.folder / "yes.h5", save_scores="yes", **options)
    lists = small.score(small.folder / "no.h5", save_scores="no", **options)
    content, kept = read(whole.path), read(lists.path)
    del content["scores"]
    assert set(kept) == set(content)
    assert all(np.array_equal(kept[name], content[name]) for name in kept)
    assert not attributes(lists.path)["has_all_scores"]


def test_all_scores_are_kept_by_default_if_they_fit_in_the_memory_limit(tmp_path):
    run = attribution_of(
        tmp_path, whole_numbers(200, 1), whole_numbers(300, 1, 1), rows_per_shard=100
    )
    size = 4 * 200 * 300
    for limit, kept in ((size, True), (size - 1, False)):
        run.score(top_k=1, memory_limit=str(limit))
        assert ("scores" in read(run.out)) == kept


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_quarantined_samples_have_no_scores_and_are_never_listed(tmp_path, form):
    train, query = TRAIN.copy(), QUERY.copy()
    train[[3, 20]], query[1] = np.nan, np.nan
    run = attribution_of(tmp_path, train, query, form=form)
    result = run.score(top_k=24, damping="abs:300", save_scores="yes")
    assert result.quarantined == 3
    content, facts = read(run.out), attributes(run.out)
    kept = np.delete(content["scores"], 1, axis=0)
    used = np.delete(TRAIN, [3, 20], axis=0)
    assert close(np.delete(kept, [3, 20], axis=1), formula(used, QUERY[[0, 2, 3, 4]], 300))
    assert np.isnan(kept[:, [3, 20]]).all()
    assert np.isnan(content["scores"][1]).all()
    for end in ("top", "bottom"):
        index, scores = content[f"{end}_index"], content[f"{end}_score"]
        assert (index[1] == -1).all()
        assert np.isnan(scores[1]).all()
        for q in (0, 2, 3, 4):
            assert sorted(index[q, :22]) == sorted(set(range(24)) - {3, 20})
            assert np.isfinite(scores[q, :22]).all()
        assert (index[:, 22:] == -1).all()
        assert np.isnan(scores[:, 22:]).all()
    assert (facts["quarantined_train"], facts["quarantined_query"]) == (2, 1)
    again = run.score(top_k=24, damping="abs:300", save_scores="yes")
    assert again == replace(result, computed=0)


def test_a_run_records_its_options_beside_the_file(small):
    small.score(damping="0.1")
    record = (small.folder / "scores.config.yaml").read_text()
    assert "damping: '0.1'\n" in record
    assert "top-k: 100\n" in record


def test_the_same_stores_give_the_same_bytes(small):
    first = small.score(small.folder / "a.h5").path
    second = small.score(small.folder / "b.h5").path
    assert first.read_bytes() == second.read_bytes()
