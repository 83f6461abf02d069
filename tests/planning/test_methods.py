"""Planning by every method: what features it needs, of how many stores, scored how often."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from dtrak_stream.attribution.configuration import AttributeConfig
from dtrak_stream.attribution.run import attribute
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.methods import METHODS
from dtrak_stream.planning.options import PlanConfig
from dtrak_stream.planning.run import plan
from dtrak_stream.planning.stages import StagePlan
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
from dtrak_stream.scoring.plan import ScoreWork, plan_scores
from dtrak_stream.scoring.run import prepare
from dtrak_stream.store.shard import PAGE
from tests.planning.conftest import QUERIES, config, size_of, stages_of
from tests.small_jobs import ALIKE, small_features

MADE = [name for name, method in METHODS.items() if method.needs not in ("subsets", "streams")]


def planned_for(method: str, clip: str, model: str, run: Path, **changes: Any) -> PlanConfig:
    """A plan for a method; one that looks at no model is given none."""
    image = method.startswith(("pixel", "clip"))
    shape = "1x8x8" if image else None
    features = small_features(proj_dim=64, clip=clip)
    options: dict[str, Any] = {"image_shape": shape, "features": features, **changes}
    scores = ScoreOptions(method=method, top_k=4)
    return config("nowhere" if image else model, run, score_options=scores, **options)


@pytest.mark.parametrize("method", MADE)
def test_every_method_of_the_main_job_is_planned(model_folder, clip_model, tmp_path, method):
    result = plan(planned_for(method, clip_model, model_folder, tmp_path, train_samples=10**6))
    kernel = ["Gram matrix"] if METHODS[method].uses_kernel else []
    assert list(stages_of(result)) == ["train features", "query features", *kernel, "scores"]
    length = 12 if method.startswith("clip") else 64
    assert f"1,000,000 x {length} float16" in result.stages[0].note
    assert result.stages[-1].disk >= 24 * QUERIES * 4
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["pixel-cosine", "clip-dot", "pixel-rbf", "das", "journey-trak"])
def test_features_of_every_kind_are_measured(model_folder, clip_model, tmp_path, method):
    execution = ExecutionOptions() if method.startswith(("pixel", "clip")) else ALIKE
    changes: dict[str, Any] = {"measured_images": 2, "execution": execution}
    stages = plan(planned_for(method, clip_model, model_folder, tmp_path, **changes)).stages
    assert all(stage.seconds is not None and stage.seconds > 0 for stage in stages)
    assert "images/s" in stages[0].note


@pytest.mark.parametrize("method", ["pixel-rbf", "activation-rbf"])
def test_no_image_is_made_up_to_tell_a_bandwidth(
    model_folder, clip_model, tmp_path, method, monkeypatch
):
    def never(*_: object, **__: object) -> float:
        raise AssertionError("random images tell no bandwidth")

    for module in ("image_features", "activation_featurizer"):
        monkeypatch.setattr(f"dtrak_stream.features.{module}.median_bandwidth", never)
    changes: dict[str, Any] = {"measured_images": 2, "execution": ExecutionOptions()}
    planned = planned_for(method, clip_model, model_folder, tmp_path, **changes)
    assert plan(planned).stages[0].seconds


@pytest.mark.parametrize("method", ["empirical-influence", "datamodel"])
def test_methods_of_retrained_subsets_are_refused_as_by_a_run(model_folder, tmp_path, method):
    scores = ScoreOptions(method=method)
    with pytest.raises(ConfigurationError) as planned:
        plan(config(model_folder, tmp_path, score_options=scores))
    with pytest.raises(ConfigurationError) as refused:
        attribute(AttributeConfig(run=tmp_path / "run", score_options=scores))
    assert str(planned.value) == str(refused.value)
    assert "dtrak-stream retrain-subsets" in planned.value.remedy


@pytest.mark.parametrize(
    ("shape", "features", "message"),
    [
        (None, {}, "give their channels, height and width, such as --image-shape 3x32x32"),
        ("8x8", {}, "--image-shape 8x8: not a shape"),
        ("1x8x0", {}, "--image-shape 1x8x0: not a shape"),
        ("1x8x8", {"projector": "sketch", "proj_dim": 65}, "--proj-dim 65"),
    ],
)
def test_pixels_are_planned_for_a_shape_that_is_said(tmp_path, shape, features, message):
    changes: dict[str, Any] = {
        "image_shape": shape,
        "score_options": ScoreOptions(method="pixel-dot"),
        "features": small_features(**features),
    }
    with pytest.raises(ConfigurationError, match=message):
        plan(config("nowhere", tmp_path, **changes))


def test_pixels_of_another_size_have_its_length(tmp_path):
    features = small_features(size=16)
    scores = ScoreOptions(method="pixel-dot")
    planned = config("", tmp_path, image_shape="3x8x8", score_options=scores, features=features)
    assert "12 x 768 " in plan(planned).stages[0].note


def test_probes_take_a_store_and_a_gram_matrix_each(model_folder, tmp_path):
    def stages(function: str) -> dict[str, StagePlan]:
        features = small_features(output_function=function)
        return stages_of(plan(config(model_folder, tmp_path, features=features)))

    one, three = stages("probe(0/3)"), stages("probe(3)")
    assert list(three) == list(one)
    for name in ("train features", "query features", "Gram matrix"):
        assert three[name].disk == 3 * one[name].disk
    assert three["Gram matrix"].memory == one["Gram matrix"].memory
    assert three["scores"].disk == one["scores"].disk
    assert "3 stores" in three["scores"].note


def test_several_models_have_stages_of_their_own(model_folder, other_model_folder, tmp_path):
    alone = stages_of(plan(config(model_folder, tmp_path)))
    both = dataclasses.replace(config("", tmp_path), model=(model_folder, other_model_folder))
    stages = stages_of(plan(both))
    assert list(stages) == [
        *("train features of models/0", "query features of models/0"),
        *("train features of models/1", "query features of models/1"),
        *("Gram matrix of models/0", "Gram matrix of models/1", "scores"),
    ]
    for number in (0, 1):
        assert stages[f"Gram matrix of models/{number}"].disk == alone["Gram matrix"].disk
    assert stages["scores"].disk == alone["scores"].disk
    assert stages["scores"].memory > alone["scores"].memory


def test_a_list_of_dampings_and_error_bars_take_as_much_as_a_run(model_folder, finished, tmp_path):
    planned, run = finished
    options = ScoreOptions(top_k=4, damping="0.1,1", error_bars=True)
    planned = dataclasses.replace(planned, score_options=options, run=tmp_path / "run")
    stages = stages_of(plan(planned))
    attribute(
        AttributeConfig(
            model=model_folder,
            train=str(run.parent / "train"),
            query=str(run.parent / "query"),
            run=planned.run,
            features=planned.features,
            execution=ALIKE,
            score_options=options,
            gram_options=planned.gram_options,
            quiet=True,
        )
    )
    beside = 32 * PAGE  # headers, ids and groups, which no plan counts
    taken = size_of(planned.run / "scores.h5")
    assert stages["scores"].disk <= taken <= stages["scores"].disk + beside
    halves = [size_of(path) for path in planned.run.glob("gram.half-*.h5")]
    assert len(halves) == 2
    foreseen = stages["Gram matrices of halves"].disk
    assert foreseen <= sum(halves) <= foreseen + beside
    assert "for each of 2 dampings" in stages["scores"].note


def test_what_scoring_plans_is_what_a_run_plans(finished, monkeypatch):
    planned, run = finished
    cuts: list[ScoreWork] = []
    plans = plan_scores

    def noted(*arguments: Any, **options: Any) -> Any:
        cuts.append(arguments[3])
        return plans(*arguments, **options)

    for module in ("dtrak_stream.scoring.run", "dtrak_stream.planning.scores"):
        monkeypatch.setattr(f"{module}.plan_scores", noted)
    options = ScoreOptions(method="relative-if", damping="0.1,1", error_bars=True)
    features = small_features(
        rows_per_shard=5, proj_dim=4096, dtype="float32", output_function="square"
    )
    plan(dataclasses.replace(planned, score_options=options, features=features))
    prepare(ScoreConfig(run / "train", run / "query", run / "gram.h5", options=options))
    assert all(cut == cuts[-1] for cut in cuts)
    assert cuts[-1].sums == 3
