"""Sums of streams: the formula, what is kept of each stream, cuts, restarts, and refusals."""

from __future__ import annotations

import dataclasses
from functools import partial

import h5py
import numpy as np
import pytest

import dtrak_stream.scoring.plan as plan_module
from dtrak_stream.errors import ConfigurationError, CorruptFileError, InputError, MemoryLimitError
from dtrak_stream.scoring.run import prepare, score
from dtrak_stream.scoring.sampled import spread
from dtrak_stream.support.checkpoints import Checkpoints
from tests.crashing import contents, finishes_before_step
from tests.scoring.conftest import attributes, close, read
from tests.scoring.sums_of_streams import FAR, NEAR, SUM, features, reference, streams_of, use
from tests.scoring.test_damping_lists import groups

TRAIN, QUERY = features(24, 0), features(5, 1)


@pytest.fixture(autouse=True)
def _in_the_table(monkeypatch):
    use(monkeypatch)


@pytest.fixture
def run(tmp_path):
    return streams_of(tmp_path, TRAIN, QUERY)


@pytest.mark.parametrize("damping", ["auto", "0.1", "abs:30"])
@pytest.mark.parametrize("forms", [("dual", "primal"), ("primal", "dual")])
def test_scores_are_the_formula_with_a_lambda_and_a_scale_for_each_stream(tmp_path, forms, damping):
    run = streams_of(tmp_path, TRAIN, QUERY, forms)
    run.score(damping=damping)
    facts = attributes(run.out)
    lambdas = [[value] for value in facts["damping_absolute_of_streams"]]
    assert close(read(run.out)["scores"], reference((NEAR, FAR), TRAIN, QUERY, lambdas))
    means = [np.trace(one[0].astype(np.float64) @ one[0].T) for one in TRAIN] / np.array([24, 16])
    assert np.allclose(facts["mean_eigenvalue_of_streams"], means)
    if damping == "0.1":
        assert np.allclose(facts["damping_absolute_of_streams"], 0.1 * means)
    assert facts["gram_form"] == " + ".join(forms)


def test_what_is_told_of_a_sum_is_told_for_each_of_its_streams(run):
    run.score(damping="0.1")
    facts = attributes(run.out)
    assert facts["streams"] == "near,far"
    assert facts["output_function"] == "avg + square"
    assert facts["proj_dim"] == "64 + 16"
    assert facts["projector"] == "sketch"
    assert facts["weight_of_streams"] == "1,0.5"
    assert facts["transform_of_streams"] == "signed-square,none"
    assert facts["transform"] == "signed-square"
    assert (facts["num_models"], facts["stores_of_streams"]) == (1, "1,1")
    assert len(facts["train_fingerprint"].split(",")) == 2
    for name in ("damping_relative", "effective_dimension", "rank", "condition", "scale"):
        assert facts[f"{name}_of_streams"].shape == (2,)
    lambdas = facts["damping_absolute_of_streams"]
    for number, stream in enumerate((NEAR, FAR)):
        plain = dataclasses.replace(stream, weight=1.0, scaled=False)
        scores = reference([plain], [TRAIN[number]], [QUERY[number]], [[lambdas[number]]])
        assert facts["scale_of_streams"][number] == pytest.approx(np.abs(scores).mean(), rel=1e-5)


def test_each_of_a_list_of_dampings_has_scales_of_its_own(run):
    run.score(damping="0.01,1")
    for content, facts in groups(run.out):
        lambdas = [[value] for value in facts["damping_absolute_of_streams"]]
        assert close(content["scores"], reference((NEAR, FAR), TRAIN, QUERY, lambdas))


def test_a_stream_that_is_not_scaled_has_its_weight_alone(run, monkeypatch):
    streams = (dataclasses.replace(NEAR, scaled=False), dataclasses.replace(FAR, scaled=False))
    use(monkeypatch, dataclasses.replace(SUM, streams=streams))
    run.score(damping="0.1")
    facts = attributes(run.out)
    lambdas = [[value] for value in facts["damping_absolute_of_streams"]]
    assert close(read(run.out)["scores"], reference(streams, TRAIN, QUERY, lambdas))
    assert facts["scale_of_streams"].tolist() == [1, 1]


@pytest.mark.parametrize("damping", ["0.1", "0.1,1"])
def test_a_stream_is_the_mean_over_its_models_before_it_is_transformed(tmp_path, damping):
    trains, queries = features(24, 0, models=2), features(5, 1, models=2)
    run = streams_of(tmp_path, trains, queries)
    run.score(damping=damping)
    found = [(read(run.out), attributes(run.out))] if damping == "0.1" else groups(run.out)
    for content, facts in found:
        lambdas = facts["damping_absolute_of_models"].reshape(2, 2)
        assert close(content["scores"], reference((NEAR, FAR), trains, queries, lambdas))
        assert np.allclose(facts["damping_absolute_of_streams"], lambdas.mean(axis=1))
    assert attributes(run.out)["stores_of_streams"] == "2,2"


@pytest.mark.parametrize("models", [1, 2])
def test_error_bars_are_half_the_difference_of_the_sums_over_halves(tmp_path, models):
    trains, queries = features(24, 0, models), features(5, 1, models)
    run = streams_of(tmp_path, trains, queries)
    run.score(damping="0.1", error_bars=True)
    facts = attributes(run.out)
    name = "damping_absolute_of_models" if models > 1 else "damping_absolute_of_streams"
    lambdas, scales = facts[name].reshape(2, models), facts["scale_of_streams"].tolist()
    sums = [
        reference((NEAR, FAR), halved(trains, sign), halved(queries, sign), lambdas, scales)
        for sign in (1, -1)
    ]
    assert close(read(run.out)["scores"], reference((NEAR, FAR), trains, queries, lambdas))
    assert close(read(run.out)["score_error"], np.abs(sums[0] - sums[1]) / 2)


def halved(streams, sign):
    folds = [[np.split(one, 2, axis=1) for one in models] for models in streams]
    return [[first + sign * second for first, second in models] for models in folds]


def test_a_sample_that_one_stream_quarantined_has_no_score_and_no_part_in_the_scale(tmp_path):
    trains = [[one.copy() for one in models] for models in TRAIN]
    queries = [[one.copy() for one in models] for models in QUERY]
    trains[1][0][23], queries[0][0][2] = np.nan, np.nan
    run = streams_of(tmp_path, trains, queries)
    assert run.score(damping="0.1").quarantined == 2
    content, facts = read(run.out), attributes(run.out)
    assert np.isnan(content["scores"][2]).all()
    assert np.isnan(content["scores"][:, 23]).all()
    rows, asked = np.arange(23), np.delete(np.arange(5), 2)
    left = [TRAIN[0][0], TRAIN[1][0][:23]]
    tau = [TRAIN[0][0][rows], TRAIN[1][0][rows]]
    scales = []
    for stream, all_of, part, query, lam in zip(
        (NEAR, FAR), left, tau, QUERY, facts["damping_absolute_of_streams"]
    ):
        phi = all_of.astype(np.float64)
        kernel = np.linalg.inv(phi.T @ phi + lam * np.eye(phi.shape[1]))
        found = query[0][asked] @ kernel @ part.T
        scales.append(np.abs(found * abs(found) if stream is NEAR else found).mean())
    assert np.allclose(facts["scale_of_streams"], scales, rtol=1e-5)


def test_lists_and_rankings_are_those_of_the_sum(run, monkeypatch):
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", 7)
    whole = read(run.score(damping="0.1", top_k=6).path)
    order = np.argsort(-whole["scores"], axis=1, kind="stable")[:, :6]
    lists = run.score(run.folder / "lists.h5", damping="0.1", top_k=6, save_scores="no")
    assert np.array_equal(whole["top_index"], order)
    assert np.array_equal(read(lists.path)["top_index"], order)


def queries_at_a_time(run, limit):
    try:
        return len(prepare(run.config(memory_limit=str(limit), damping="0.1")).plan.queries[0])
    except MemoryLimitError:
        return 0


def test_the_scale_is_the_same_number_however_blocks_are_cut(tmp_path, monkeypatch):
    trains, queries = features(300, 0), features(400, 1)
    run = streams_of(tmp_path, trains, queries)
    whole = attributes(run.score(damping="0.1").path)["scale_of_streams"]
    low, high = 0, 2**30
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if queries_at_a_time(run, middle) else (middle, high)
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", 35)
    assert queries_at_a_time(run, high) < 400
    cut = run.score(tmp_path / "cut.h5", damping="0.1", memory_limit=str(high)).path
    assert np.array_equal(attributes(cut)["scale_of_streams"], whole)
    assert np.allclose(read(cut)["scores"], read(run.out)["scores"], rtol=1e-4, atol=1e-6)


def test_the_scale_is_of_samples_spread_over_those_with_features():
    usable = np.ones(5000, np.bool_)
    usable[:1000] = False
    runs = spread(usable, 64, 16)
    assert len(runs) == 64
    assert runs[0] == range(1000, 1016)
    assert {len(run) for run in runs} == {16}
    assert runs[-1].stop > 4900
    assert spread(usable, 64, 1)[1] == range(1063, 1064)
    assert spread(usable[:1000], 64, 16) == ()
    assert spread(usable[1000:1020], 64, 16) == (range(16), range(16, 20))


def test_a_kill_at_any_step_and_a_restart_give_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "_ROWS_PER_PART", 14)
    run = streams_of(tmp_path / "run", TRAIN, QUERY)
    whole = run.score(tmp_path / "whole" / "scores.h5", damping="0.1")
    expected = whole.path.read_bytes()
    step, finished = 0, False
    while not finished:
        out = tmp_path / f"killed-at-{step}" / "scores.h5"
        finished = finishes_before_step(partial(run.score, out, damping="0.1"), step)
        run.score(out, damping="0.1")
        assert out.read_bytes() == expected
        assert set(contents(out.parent)) == {"scores.h5", "scores.config.yaml"}
        step += 5
    assert step > 3 * 7


def test_a_damaged_sample_of_scores_is_computed_again(run, monkeypatch):
    expected = run.score(run.folder / "whole.h5", damping="0.1").path.read_bytes()
    load = Checkpoints.load

    def lost(checkpoints, name):
        if name == "sample-00000" and "sample-00001" in checkpoints.names():
            checkpoints.drop(name)
        return load(checkpoints, name)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "load", lost)
        with pytest.raises(
            CorruptFileError, match=r"\(sample-00000\) were damaged.*same command again"
        ):
            run.score(damping="0.1")
    run.score(damping="0.1")
    assert run.out.read_bytes() == expected


def test_stores_may_be_given_one_after_the_other_in_the_order_of_the_streams(run):
    expected = run.score(run.folder / "whole.h5", damping="0.1").path.read_bytes()
    config = run.with_paths(
        options=run.config(damping="0.1").options,
        train=(run.folder / "train/near", run.folder / "train/far"),
        query=(run.folder / "query/near", run.folder / "query/far"),
        gram=(run.folder / "gram/near.h5", run.folder / "gram/far.h5"),
    )
    assert score(config).path.read_bytes() == expected


def test_a_store_that_is_not_what_its_stream_is_of_is_refused_by_the_stream(run):
    config = run.with_paths(
        train=(run.folder / "train/far", run.folder / "train/near"),
        query=(run.folder / "query/far", run.folder / "query/near"),
        gram=(run.folder / "gram/far.h5", run.folder / "gram/near.h5"),
    )
    told = "stream near of sum takes features of avg, not of square; .* in the order of the streams"
    with pytest.raises(ConfigurationError, match=told):
        score(config)


def test_too_few_stores_for_the_streams_are_refused_by_their_names(run):
    near = {"train": "train/near", "query": "query/near", "gram": "gram/near.h5"}
    config = run.with_paths(**{name: run.folder / path for name, path in near.items()})
    told = r"sum is a sum of 2 streams \(near, far\): 1 training and 1 query stores are not one"
    with pytest.raises(ConfigurationError, match=told):
        score(config)


def test_a_stream_without_a_folder_is_refused(run):
    (run.folder / "train/far").rename(run.folder / "elsewhere")
    with pytest.raises(InputError, match="train/far"):
        run.score()


def test_a_stream_whose_scores_are_all_zero_has_no_scale_and_is_refused(tmp_path):
    run = streams_of(tmp_path, TRAIN, [QUERY[0], [np.zeros_like(QUERY[1][0])]])
    with pytest.raises(ConfigurationError, match="query/far: all scores of the stream far are"):
        run.score(damping="0.1")


@pytest.mark.parametrize("transform", ["square", "abs", "none", "signed-square"])
def test_a_sum_has_the_transforms_of_its_streams_and_takes_no_other(run, transform):
    if transform in ("none", "signed-square"):
        run.score(transform=transform)
    else:
        with pytest.raises(ConfigurationError, match="score of sum is transformed already"):
            run.score(transform=transform)


def test_scores_of_other_weights_are_computed_again(run, monkeypatch, capsys):
    run.score(damping="0.1")
    lighter = (NEAR, dataclasses.replace(FAR, weight=0.25))
    use(monkeypatch, dataclasses.replace(SUM, streams=lighter))
    assert run.score(damping="0.1").computed == 2
    assert "weight_of_streams '1,0.5', now '1,0.25'; scoring again" in capsys.readouterr().err
    with h5py.File(run.out) as file:
        lambdas = [[value] for value in file.attrs["damping_absolute_of_streams"]]
        assert close(file["scores"][()], reference(lighter, TRAIN, QUERY, lambdas))
