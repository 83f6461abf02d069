"""The main job by a method that is a sum of streams, and what reads what it leaves behind."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import dtrak_stream
from dtrak_stream import AttributeConfig, ScoreOptions
from dtrak_stream.attribution.plan import make_plan
from dtrak_stream.cli.command_line import EXIT_DONE
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.planning.options import PlanConfig
from dtrak_stream.planning.run import plan
from tests.attribution.jobs import attributes
from tests.scoring.sums_of_streams import FAR, NEAR, SUM, use
from tests.small_jobs import (
    ALIKE,
    flags,
    random_pixels,
    run_tool,
    save_images,
    small_features,
    written_at,
)

PIXELS = dataclasses.replace(FAR, output_function="pixels", output_functions=("pixels",))
STREAMS = (dataclasses.replace(NEAR, timesteps="list:0,500"), PIXELS)


@pytest.fixture(scope="module", autouse=True)
def _in_the_table():
    with pytest.MonkeyPatch.context() as patch:
        use(patch, dataclasses.replace(SUM, streams=STREAMS))
        yield


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> tuple[Path, Path]:
    root, train = tmp_path_factory.mktemp("sources"), random_pixels(7)
    return save_images(root / "train", train), save_images(root / "query", train[[5, 2]])


def job(model: Any, sources: tuple[Path, Path], run: Path, **features: Any) -> AttributeConfig:
    return AttributeConfig(
        model=model,
        train=str(sources[0]),
        query=str(sources[1]),
        run=run,
        features=small_features(timesteps=None, **features),
        execution=ALIKE,
        score_options=ScoreOptions(method="sum", damping="0.1", top_k=3),
        quiet=True,
    )


@pytest.fixture(scope="module")
def finished(model_folder, sources, tmp_path_factory):
    config = job(model_folder, sources, tmp_path_factory.mktemp("sum") / "run")
    return config, dtrak_stream.attribute(config)


def test_kernels_of_a_timestep_each_may_be_the_streams(sources, tmp_path, monkeypatch):
    steps = ("list:0", "list:500")
    of_each = [dataclasses.replace(NEAR, name=step[5:], timesteps=step) for step in steps]
    use(monkeypatch, dataclasses.replace(SUM, streams=tuple(of_each)))
    planned = make_plan(job("a-model", sources, tmp_path / "run"))
    for side in ("train", "query"):
        stages = [getattr(model, side) for model in planned.models]
        assert [stage.features.timesteps for stage in stages] == list(steps)
        assert [stage.store.name for stage in stages] == ["0", "500"]


def test_each_stream_has_a_folder_of_its_own_and_a_gram_matrix(finished):
    config, result = finished
    found = {path.parent.relative_to(config.run) for path in config.run.rglob("store.json")}
    assert found == {Path(side, name) for side in ("train", "query") for name in ("near", "far")}
    assert {path.name for path in (config.run / "gram").iterdir()} >= {"near.h5", "far.h5"}
    facts = attributes(result.scores)
    assert (facts["streams"], facts["output_function"]) == ("near,far", "avg + pixels")
    assert facts["timesteps"].startswith("0,500 + ")
    with h5py.File(result.scores) as file:
        assert file["scores"][()].argmax(axis=1).tolist() == [5, 2]


def test_a_finished_sum_is_not_computed_again(finished, capsys):
    config, _ = finished
    before = written_at(config.run)
    assert run_tool("attribute", flags(config), capsys)[0] == EXIT_DONE
    record = ["--config", str(config.run / "config.yaml")]
    assert run_tool("attribute", record, capsys)[0] == EXIT_DONE
    kept = {name: at for name, at in before.items() if not name.startswith("config.")}
    assert kept.items() <= written_at(config.run).items()


def test_the_score_command_takes_the_folders_of_the_run(finished, tmp_path, capsys):
    config, result = finished
    out = tmp_path / "scores.h5"
    words = [w for name in ("train", "query", "gram") for w in (f"--{name}", config.run / name)]
    words += ["--out", out, "--method", "sum", "--damping", "0.1", "--top-k", "3"]
    assert run_tool("score", list(map(str, words)), capsys)[0] == EXIT_DONE
    with h5py.File(out) as one, h5py.File(result.scores) as other:
        assert np.array_equal(one["scores"][()], other["scores"][()])


def test_the_report_tells_of_all_streams(finished):
    _, result = finished
    page, facts = result.path.read_text(), attributes(result.scores)
    assert "near + far" in page
    assert "1 × signed-square / " in page
    assert "0.5 × scores / " in page
    assert "inverts no Gram matrix" not in page
    assert len(facts["damping_absolute_of_streams"]) == 2


def test_a_sum_is_verified_and_rows_of_each_stream_are_computed_again(finished, capsys):
    config, _ = finished
    code, _, errors = run_tool("verify", ["--run", str(config.run), "--deep", "2"], capsys)
    assert code == EXIT_DONE
    for line in ("train/near:", "train/far:", "query/far:", "gram/near.h5: ", "scores.h5: sum, 2"):
        assert f"ok  {line}" in errors
    assert errors.count("2 rows computed again") == 4


def test_scores_of_a_sum_are_exported_with_what_is_told_of_its_streams(finished, tmp_path, capsys):
    _, result = finished
    out = tmp_path / "scores.npy"
    words = ["--scores", str(result.scores), "--out", str(out)]
    assert run_tool("export", words, capsys)[0] == EXIT_DONE
    with h5py.File(result.scores) as file:
        assert np.array_equal(np.load(out), file["scores"][()])


def test_other_queries_have_features_of_each_stream_beside_the_first(finished, sources):
    config, _ = finished
    others = dataclasses.replace(config, query=f"again={sources[1]}")
    result = dtrak_stream.attribute(others)
    folder = config.run / "queries" / "again"
    assert result.scores == folder / "scores.h5"
    assert {path.name for path in (folder / "query").iterdir()} == {"near", "far"}


def test_several_models_have_all_streams_each(sources, tmp_path):
    models = make_plan(job(("one", "two"), sources, tmp_path)).models
    stores = [model.train.store.relative_to(tmp_path).as_posix() for model in models]
    assert stores == [f"models/{i}/train/{name}" for i in (0, 1) for name in ("near", "far")]
    grams = [model.grams[0].out.relative_to(tmp_path).as_posix() for model in models]
    assert grams == [f"models/{i}/gram/{name}.h5" for i in (0, 1) for name in ("near", "far")]


def test_a_sum_is_planned_with_a_stage_for_each_stream(finished):
    config, _ = finished
    planned = plan(
        PlanConfig(
            model=str(config.model),
            run=config.run.parent / "planned",
            features=config.features,
            score_options=config.score_options,
            train_samples=1000,
            query_samples=2,
            measured_images=0,
            image_shape="1x8x8",
        )
    )
    assert [stage.name for stage in planned.stages] == [
        *("train features of near", "query features of near"),
        *("train features of far", "query features of far"),
        *("Gram matrix of near", "Gram matrix of far", "scores"),
    ]
    assert "of 2 stores" in planned.stages[-1].note


@pytest.mark.parametrize(
    ("features", "flag"),
    [
        ({"output_function": "square"}, "--output-function square"),
        ({"timestep_weights": "unit-gradient"}, "--timestep-weights unit-gradient"),
    ],
)
def test_what_streams_have_of_their_own_is_not_taken_for_all(sources, tmp_path, features, flag):
    told = rf"{flag}: sum is a sum of streams \(near and far\), which have each their own"
    with pytest.raises(ConfigurationError, match=told):
        make_plan(job("model", sources, tmp_path, **features))


def test_error_bars_of_a_stream_without_halves_are_refused(sources, tmp_path):
    config = job("model", sources, tmp_path / "run")
    options = dataclasses.replace(config.score_options, error_bars=True)
    with pytest.raises(ConfigurationError, match="projector identity with k = 64 have no two"):
        dtrak_stream.attribute(dataclasses.replace(config, score_options=options))


@pytest.mark.parametrize(
    ("method", "held", "told"),
    [
        ("sum", "train", "train: holds features of a method of one stream alone; give another"),
        ("sum", "query", "query: holds features of a method of one stream alone"),
        ("best", "train/near", r"train: holds features of a method of several streams \(near\)"),
    ],
)
def test_a_run_is_not_gone_on_with_by_a_method_of_other_streams(
    sources, tmp_path, method, held, told
):
    config = job("model", sources, tmp_path / "run")
    options = dataclasses.replace(config.score_options, method=method)
    plan_of_store = config.run / held / "store.json"
    plan_of_store.parent.mkdir(parents=True)
    plan_of_store.touch()
    with pytest.raises(InputError, match=told):
        dtrak_stream.attribute(dataclasses.replace(config, score_options=options))
    assert list(config.run.rglob("*.*")) == [plan_of_store]


def test_mix_is_twice_best_of_early_timesteps_added_to_what_a_layer_says(
    model_folder, sources, tmp_path
):
    found = {}
    for method in ("best", "activation-rbf", "mix"):
        options = ScoreOptions(method=method, damping="0.1", top_k=3)
        config = job(model_folder, sources, tmp_path / method)
        config = dataclasses.replace(config, score_options=options)
        if method == "best":
            features = dataclasses.replace(config.features, timesteps="share:0.02,0.06")
            config = dataclasses.replace(config, features=features)
        if method == "activation-rbf":
            config = dataclasses.replace(config, execution=ExecutionOptions(batch_size=2))
        with h5py.File(dtrak_stream.attribute(config).scores) as file:
            found[method] = file["scores"][()].astype(np.float64)
    scaled = {name: scores / np.abs(scores).mean() for name, scores in found.items()}
    expected = scaled["activation-rbf"] + 2 * scaled["best"]
    np.testing.assert_allclose(found["mix"], expected, rtol=1e-4, atol=1e-5)
