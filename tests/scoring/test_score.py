"""Scores against the formula in float64, their rankings, and the file that holds them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dtrak_stream.scoring.plan as plan_module
from tests.scoring.conftest import (
    attributes,
    attribution_of,
    close,
    formula,
    read,
    whole_numbers,
)

TRAIN, QUERY = whole_numbers(24, 64), whole_numbers(5, 64, 1)


@pytest.mark.parametrize("transform", ["none", "square"])
@pytest.mark.parametrize("damping", ["auto", "0.1", "abs:500"])
@pytest.mark.parametrize("form", ["primal", "dual"])
def test_scores_are_the_formula(tmp_path, form, damping, transform):
    run = attribution_of(tmp_path, TRAIN, QUERY, form=form)
    scores = run.scores(damping=damping, transform=transform)
    facts = attributes(run.out)
    tau = formula(TRAIN, QUERY, facts["damping_absolute"])
    assert close(scores, tau**2 if transform == "square" else tau)
    assert facts["gram_form"] == form


@pytest.mark.parametrize("proj_dim", [16, 64])
@pytest.mark.parametrize("transform", ["none", "square"])
def test_the_lambda_of_every_damping_is_the_one_promised(tmp_path, transform, proj_dim):
    train, query = whole_numbers(24, proj_dim), whole_numbers(5, proj_dim, 1)
    run = attribution_of(tmp_path, train, query)
    eigenvalues = np.linalg.eigvalsh(train.astype(np.float64) @ train.T)[-min(24, proj_dim) :]
    found = {}
    for damping in ("auto", "0.1", "abs:500"):
        run.score(damping=damping, transform=transform)
        facts = attributes(run.out)
        found[damping] = facts["damping_absolute"]
        assert facts["mean_eigenvalue"] == pytest.approx(eigenvalues.mean())
        assert facts["damping_relative"] == pytest.approx(found[damping] / eigenvalues.mean())
        freedom = (eigenvalues / (eigenvalues + found[damping])).sum()
        assert facts["effective_dimension"] == pytest.approx(freedom)
        if damping == "auto":
            per_sample, per_dimension = {"none": (0.15, 0.45), "square": (0.12, 0.36)}[transform]
            wanted = 24 * per_sample
            if proj_dim < 24:
                wanted = 1 / (1 / wanted + 1 / (proj_dim * per_dimension))
            assert freedom == pytest.approx(wanted)
    assert found["0.1"] == pytest.approx(0.1 * eigenvalues.mean())
    assert found["abs:500"] == 500


def test_trak_and_d_trak_are_one_formula_of_different_features(tmp_path):
    d_trak = attribution_of(tmp_path / "square", TRAIN, QUERY)
    trak = attribution_of(tmp_path / "simple", TRAIN, QUERY, output_function="simple")
    assert np.array_equal(d_trak.scores(method="d-trak"), trak.scores(method="trak"))
    assert attributes(trak.out)["output_function"] == "simple"


def test_a_large_damping_times_the_scores_gives_gradient_dot_products(small):
    assert close(1e12 * small.scores(damping="abs:1e12"), QUERY @ TRAIN.T)


def test_adding_a_training_sample_changes_the_others_through_the_kernel_only(tmp_path):
    train, new, queries = TRAIN[:-1], TRAIN[-1:], QUERY
    before = attribution_of(tmp_path / "before", train, np.concatenate([queries, new]))
    after = attribution_of(tmp_path / "after", TRAIN, queries)
    old, scores = before.scores(damping="abs:300"), after.scores(damping="abs:300")
    # Sherman and Morrison: tau'(q, n) = tau(q, n) - tau'(q, new) tau(new, n)
    expected = old[:-1] - scores[:, -1:] * old[-1:]
    assert close(scores[:, :-1], expected)
    assert not close(scores[:, :-1], old[:-1])


def test_a_training_sample_without_a_gradient_changes_no_other(tmp_path):
    with_zero = np.concatenate([TRAIN[:9], np.zeros((1, 64), np.float32), TRAIN[9:]])
    scores = attribution_of(tmp_path / "with", with_zero, QUERY).scores(damping="abs:300")
    without = attribution_of(tmp_path / "without", TRAIN, QUERY).scores(damping="abs:300")
    assert close(np.delete(scores, 9, axis=1), without)
    assert not scores[:, 9].any()


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_permuting_samples_permutes_scores(tmp_path, form):
    rows, columns = (
        np.random.default_rng(2).permutation(5),
        np.random.default_rng(3).permutation(24),
    )
    straight = attribution_of(tmp_path / "a", TRAIN, QUERY, form=form).scores()
    permuted = attribution_of(tmp_path / "b", TRAIN[columns], QUERY[rows], form=form).scores()
    assert close(permuted, straight[np.ix_(rows, columns)])


def test_a_training_sample_is_its_own_strongest_proponent(tmp_path):
    run = attribution_of(tmp_path, TRAIN, TRAIN)
    run.score(damping="0.01", top_k=1)
    assert read(run.out)["top_index"][:, 0].tolist() == list(range(24))
    assert (read(run.out)["top_score"] > 0).all()


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_a_training_set_of_low_rank_is_scored_with_auto_damping(tmp_path, form):
    """Float32 products of such features have eigenvalues a little below zero."""
    generator = np.random.default_rng(0)
    few = (generator.normal(size=(40, 3)) @ generator.normal(size=(3, 64))).astype(np.float32)
    run = attribution_of(tmp_path, few, QUERY, form=form)
    scores, facts = run.scores(damping="auto"), attributes(run.out)
    assert facts["effective_dimension"] == pytest.approx(3, abs=0.05)
    expected = formula(few, QUERY, facts["damping_absolute"])
    assert np.allclose(scores, expected, atol=0.06 * np.abs(expected).max())


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15
)
@given(
    rows_per_shard=st.integers(1, 9),
    rows_per_part=st.integers(1, 30),
    query_blocks=st.integers(1, 5),
    top_k=st.integers(1, 30),
    form=st.sampled_from(["primal", "dual"]),
    transform=st.sampled_from(["none", "square"]),
    dtype=st.sampled_from(["float16", "float32", "int8"]),
)
def test_any_cut_into_blocks_gives_the_formula_and_its_rankings(
    tmp_path_factory,
    monkeypatch,
    rows_per_shard,
    rows_per_part,
    query_blocks,
    top_k,
    form,
    transform,
    dtype,
):
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", rows_per_part)
    root = tmp_path_factory.mktemp("streamed")
    train, query = whole_numbers(17, 24), whole_numbers(5, 24, 1)
    run = attribution_of(root, train, query, form=form, rows_per_shard=rows_per_shard, dtype=dtype)
    options = {"top_k": top_k, "transform": transform, "damping": "0.1"}
    limit = run.smallest_limit(query_blocks, **options)
    run.score(memory_limit=limit, save_scores="yes", **options)
    content = read(run.out)
    train, query = run.train.rows(range(17)), run.query.rows(range(5))  # rounded to bytes, maybe
    tau = formula(train, query, attributes(run.out)["damping_absolute"])
    assert close(content["scores"], tau**2 if transform == "square" else tau)
    for end, sign in (("top", 1), ("bottom", -1)):
        order = np.argsort(-sign * content["scores"], axis=1, kind="stable")[:, :top_k]
        assert np.array_equal(content[f"{end}_index"], order)
        ranked = np.take_along_axis(content["scores"], order, axis=1)
        assert np.array_equal(content[f"{end}_score"], ranked)
    shutil.rmtree(root)


def test_a_smaller_memory_limit_cuts_queries_into_more_blocks(small):
    for blocks in (1, 2, 3, 5):
        limit = small.smallest_limit(blocks)
        result = small.score(small.folder / f"{blocks}.h5", memory_limit=limit)
        assert result.computed == blocks
        assert close(read(result.path)["scores"], read(small.folder / "1.h5")["scores"])


@pytest.mark.parametrize("proj_dim", [16, 24, 64])
@pytest.mark.parametrize("damping", ["auto", "auto-oas", "0.1"])
def test_lambda_is_that_of_the_samples_that_have_features(tmp_path, damping, proj_dim):
    train, query = whole_numbers(40, proj_dim), whole_numbers(5, proj_dim, 1)
    gone = range(3, 19)
    spoilt = train.copy()
    spoilt[gone] = np.nan
    found = {}
    for name, features in {"spoilt": spoilt, "clean": np.delete(train, gone, axis=0)}.items():
        run = attribution_of(tmp_path / name, features, query)
        run.score(damping=damping)
        found[name] = attributes(run.out)
    for fact in ("damping_absolute", "damping_relative", "effective_dimension"):
        assert found["spoilt"][fact] == pytest.approx(found["clean"][fact], rel=1e-6)


@pytest.mark.parametrize("damping", ["auto", "auto-oas", "0.1"])
def test_as_many_samples_as_dimensions_give_one_lambda_in_both_forms(tmp_path, damping):
    train, query = whole_numbers(24, 24), whole_numbers(5, 24, 1)
    found = {}
    for form in ("auto", "primal", "dual"):
        run = attribution_of(tmp_path / form, train, query, form=form)
        run.score(damping=damping)
        found[form] = attributes(run.out)
    assert found["auto"]["gram_form"] == "dual"
    for form in ("auto", "primal"):
        for fact in ("damping_absolute", "mean_eigenvalue", "effective_dimension"):
            assert found[form][fact] == pytest.approx(found["dual"][fact], rel=1e-6)
    if damping == "auto":
        assert found["dual"]["effective_dimension"] == pytest.approx(0.15 * 24, rel=1e-6)


def test_scores_of_float16_features_are_those_of_what_is_stored(tmp_path):
    generator = np.random.default_rng(4)
    train, query = generator.normal(size=(24, 64)), generator.normal(size=(5, 64))
    run = attribution_of(tmp_path, train, query, dtype="float16")
    stored = run.train.rows(range(24)), run.query.rows(range(5))
    assert not np.allclose(stored[0], train, rtol=1e-5)
    assert close(run.scores(damping="abs:50"), formula(*stored, 50))
