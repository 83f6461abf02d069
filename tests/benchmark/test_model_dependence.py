"""dtrak-stream bench model-dependence: its measures, on made-up scores, and a tiny run of it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dtrak_stream.benchmark.model_dependence import run as run_module
from dtrak_stream.benchmark.model_dependence import scoring
from dtrak_stream.benchmark.model_dependence.distances import (
    TOLERANCE,
    equally_near,
    left_out_pairs,
    pixel_distances,
    share_above,
)
from dtrak_stream.benchmark.model_dependence.left_out import left_out_rows, nearest_seen
from dtrak_stream.benchmark.model_dependence.models import (
    FULL,
    HALVES,
    REPEATED,
    Design,
    draw_design,
    open_pool,
    pixels,
    trainings,
)
from dtrak_stream.benchmark.model_dependence.options import (
    ModelDependenceConfig,
    methods_asked,
)
from dtrak_stream.benchmark.model_dependence.repeated import encounters, repeated_rows
from dtrak_stream.benchmark.model_dependence.run import measure_model_dependence
from dtrak_stream.benchmark.model_dependence.scoring import (
    QUERIES_OF_REPEATED,
    Scores,
    asked,
    feature_kinds,
)
from dtrak_stream.benchmark.model_dependence.seen_half import FORMS, seen_half_rows
from dtrak_stream.benchmark.model_dependence.shares import (
    estimate,
    ranks,
    shares_at_top,
    standardised,
)
from dtrak_stream.data.images import open_images
from dtrak_stream.errors import (
    ConfigurationError,
    FingerprintMismatchError,
    InputError,
    InterruptedRunError,
)
from dtrak_stream.methods import METHODS
from dtrak_stream.model.places import EMBEDDED_LORA
from dtrak_stream.training.configuration import (
    ArchitectureOptions,
    NoiseScheduleOptions,
    OptimisationOptions,
    TrainingConfig,
)
from dtrak_stream.training.run import train

COUNT = 60
ASKED = asked(ModelDependenceConfig())
POOL = "sklearn:digits[0:24]"


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def slow_share(scores: np.ndarray, of_kind: np.ndarray, k: int) -> float:
    """The mean over all orders of the candidates, of which sorting keeps that of equal ones."""
    orders = list(itertools.permutations(range(len(scores))))
    shares = [of_kind[sorted(order, key=lambda i: -scores[i])[:k]].mean() for order in orders]
    return float(np.mean(shares))


@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_shares_at_the_top_are_the_mean_over_orders_of_equal_scores(generator, k):
    scores = generator.integers(0, 4, (8, 6)).astype(float)
    of_kind = np.array([True, False, False, True, True, False])
    expected = [slow_share(row, of_kind, k) for row in scores]
    np.testing.assert_allclose(shares_at_top(scores, of_kind, k), expected, rtol=1e-12)


def test_standardised_scores_and_ranks_are_those_of_each_query(generator):
    scores = np.vstack([7 + 3 * generator.standard_normal(COUNT), np.full(COUNT, 0.1)])
    found = standardised(scores)
    assert found[0].mean() == pytest.approx(0, abs=1e-12)
    assert found[0].std() == pytest.approx(1)
    assert not found[1].any()
    np.testing.assert_array_equal(ranks(np.array([[5.0, 1.0, 5.0]])), [[2.5, 1.0, 2.5]])


def test_an_error_is_that_over_units_or_that_between_groups():
    near = [np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 1.0, 0.0])]
    found = estimate(near)
    assert found is not None
    assert found["value"] == 0.5
    assert found["standard_error"] == pytest.approx(np.concatenate(near).std() / np.sqrt(6))
    far = estimate([np.array([0.1, 0.1]), np.array([0.5, 0.5])])
    assert far is not None
    assert (far["value"], far["standard_error"]) == pytest.approx((0.3, 0.2))
    assert far["by_group"] == pytest.approx([0.1, 0.5])
    assert estimate([np.array([0.1, 0.2]), np.array([0.5])]) is None


def test_distances_are_those_of_float64(generator):
    some, others = (generator.random((n, 4, 4, 3), dtype=np.float32) for n in (5, 7))
    others[3] = some[2]
    found = pixel_distances(some, others)
    difference = some[:, None].astype(float) - others[None]
    np.testing.assert_allclose(found, np.sqrt((difference**2).sum((2, 3, 4))), rtol=1e-12)
    assert found[2, 3] == 0


def test_a_method_that_ranks_by_distance_puts_an_image_in_the_middle_of_those_as_near(generator):
    distances = generator.integers(90, 110, COUNT).astype(float)
    others = generator.random(COUNT) < 0.8
    met = 0
    for image in range(COUNT):
        chosen = equally_near(distances, image, others, 3)
        assert image not in chosen
        assert others[chosen].all()
        assert (np.abs(distances[chosen] / distances[image] - 1) <= TOLERANCE).all()
        if len(chosen):
            met += 1
            assert share_above(-distances, image, chosen) == 0.5
            assert (distances[chosen] < distances[image]).sum() <= 3
    assert met > COUNT / 2
    assert not len(equally_near(np.array([1.0, 2.0, 3.0]), 0, np.ones(3, bool), 3))


def test_a_method_that_ranks_by_distance_puts_one_of_two_as_near_above_as_often(generator):
    count = 20 * COUNT
    distances = generator.integers(80, 120, count).astype(float)
    left_out = np.arange(0, count, 2)
    neighbour = generator.choice(np.arange(1, count, 2), count)
    ours, theirs = left_out_pairs(distances, neighbour, left_out, 4)
    assert len(ours) >= 8
    assert (ours % 2 == 0).all()
    np.testing.assert_array_equal(theirs, neighbour[ours])
    gap = distances[ours] - distances[theirs]
    assert (np.abs(gap) <= TOLERANCE * distances[ours]).all()
    assert (gap < 0).sum() == (gap > 0).sum() == 4
    assert share_above(-distances, ours, theirs) == 0.5


def test_each_image_was_seen_by_one_half_and_some_are_repeated():
    design = draw_design(COUNT, 5, seed=3)
    assert design.seen.sum(1).tolist() == [COUNT // 2, COUNT // 2]
    assert (design.seen.sum(0) == 1).all()
    assert [len(design.shown(times)) for times in (1, 10, 50)] == [COUNT - 10, 5, 5]
    assert (draw_design(COUNT, 5, seed=3).times == design.times).all()
    assert (draw_design(COUNT, 5, seed=4).seen != design.seen).any()
    with pytest.raises(ConfigurationError, match="--repeated 16"):
        draw_design(COUNT, 16, seed=0)


class Invented:
    """Images on a line, and scores made of distances and of what a model saw.

    `blind` ranks by distance under every model; `knowing` adds what each model saw, and how often.
    """

    METHODS = ("blind", "knowing")

    def __init__(self, generator: np.random.Generator, knows: float) -> None:
        self.design = draw_design(COUNT, 3, seed=0)
        pool = generator.random(COUNT)
        queries = {name: generator.random(9) for name in ASKED[FULL]}
        self.within = np.abs(pool[:, None] - pool)
        self.near = {name: np.abs(each[:, None] - pool) for name, each in queries.items()}
        seen = dict(zip(HALVES, self.design.seen, strict=True))
        added = {**seen, REPEATED: np.log(self.design.times), FULL: np.ones(COUNT)}
        self.scores = Scores(
            {
                (model, method, name): -self.near[name]
                + knows * (method == "knowing") * added[model]
                for model, names in ASKED.items()
                for name in names
                for method in self.METHODS
            }
        )


@pytest.fixture
def invented(generator) -> Invented:
    return Invented(generator, knows=2.0)


def test_the_top_of_a_method_that_knows_lies_in_the_half_seen(invented):
    rows = seen_half_rows(Invented.METHODS, invented.scores, invented.design)
    found = {(row["form"], row["method"]): row["top"] for row in rows}
    assert set(found) == {(form, method) for form in FORMS for method in Invented.METHODS}
    for top in found["score", "knowing"], found["score difference", "knowing"]:
        assert [top[k]["value"] for k in ("1", "5", "20")] == [1, 1, 1]
    assert found["rank difference", "knowing"]["20"]["value"] > 0.95
    for form in ("score difference", "rank difference"):
        for share in found[form, "blind"].values():
            assert share["value"] == pytest.approx(0.5)
            assert share["standard_error"] == pytest.approx(0)
    for form in ("score", "score under the full model"):
        assert found[form, "blind"] == found["score under the full model", "knowing"]


def test_tops_of_more_than_half_of_the_pool_are_left_out(invented):
    few = slice(0, 30)
    scores = {key: each[:, few] for key, each in invented.scores.by_model.items()}
    design = Design(invented.design.seen[:, few], invented.design.times[few])
    (row, *_) = seen_half_rows(("blind",), Scores(scores), design)
    assert list(row["top"]) == ["1", "5"]


def test_images_shown_often_are_above_those_as_near_by_a_method_that_knows(invented):
    met = np.concatenate([invented.near[name] for name in QUERIES_OF_REPEATED])
    rows = repeated_rows(Invented.METHODS, invented.scores, invented.design, met)
    assert [(row["times"], row["method"]) for row in rows] == [
        (times, method) for times in (10, 50) for method in Invented.METHODS
    ]
    for row in rows:
        knows = row["method"] == "knowing"
        assert row[REPEATED]["above"]["value"] == pytest.approx(1.0 if knows else 0.5)
        assert row[FULL]["above"]["value"] == pytest.approx(0.5)
        assert 1 <= row[REPEATED]["images"] <= 3
        if knows:
            most = 3 if row["times"] == 50 else 6
            assert row[REPEATED]["median_rank"] <= most < row[REPEATED]["median_rank_of_others"]


def test_repeated_images_meet_the_queries_nearest_to_them(invented):
    distances = np.concatenate([invented.near[name] for name in QUERIES_OF_REPEATED])
    met = encounters(distances, invented.design)
    for each in met:
        assert invented.design.times[each.image] > 1
        assert (invented.design.times[each.others] == 1).all()
    for image in {each.image for each in met}:
        queries = [each.query for each in met if each.image == image]
        assert len(queries) <= 10
        assert (np.diff(distances[queries, image]) >= 0).all()


def test_an_image_left_out_is_below_its_neighbour_by_a_method_that_knows(invented):
    rows = left_out_rows(
        Invented.METHODS, invented.scores, invented.design, invented.within, invented.near
    )
    own = {row["method"]: row["own"]["value"] for row in rows}
    assert own == {"blind": pytest.approx(0.5), "knowing": 0}
    for row in rows:
        assert row[FULL]["value"] == pytest.approx(0.5)
        assert 0 < row["queries"] <= 18 <= row["pairs"]


def test_the_nearest_seen_image_is_another_one():
    within = np.abs(np.arange(5.0)[:, None] - np.array([0, 1, 2, 3.1, 4.3]))
    seen = np.array([True, False, True, False, True])
    assert nearest_seen(within, seen).tolist() == [2, 0, 0, 2, 2]


def test_nothing_is_told_where_no_images_are_as_near():
    design = Design(np.array([[True, False], [False, True]]), np.array([1, 10]))
    far = np.array([[1.0, 9.0]])
    scores = {(model, "blind", name): far for model, names in ASKED.items() for name in names}
    near = dict.fromkeys(ASKED[FULL], far)
    (ten, _) = repeated_rows(("blind",), Scores(scores), design, np.concatenate([far, far]))
    assert ten[REPEATED]["above"] is None
    assert ten[REPEATED]["median_rank"] is None
    within = np.array([[0.0, 8.0], [8.0, 0.0]])
    (row,) = left_out_rows(("blind",), Scores(scores), design, within, near)
    assert row["own"] is None
    assert row["pairs"] == 0


def test_all_methods_are_asked_that_need_no_more_than_one_model():
    names = methods_asked()
    assert {"best", "trak", "d-trak", "das", "relative-if", "renorm-if"} <= set(names)
    assert {"pixel-dot", "pixel-cosine", "gradient-dot", "gradient-cosine"} <= set(names)
    assert not {"clip-cosine", "journey-trak", "datamodel"} & set(names)
    left_out = set(METHODS) - set(names)
    same_of_one_model = {"tracincp", "gas"}
    for name in left_out - same_of_one_model:
        assert METHODS[name].needs in ("clip", "trajectory", "subsets")


def test_features_are_computed_once_for_all_methods_that_take_them(tmp_path):
    kinds = feature_kinds(ModelDependenceConfig(out=tmp_path / "out"))
    assert sorted(name for names in kinds.values() for name in names) == sorted(methods_asked())
    shared = next(names for names in kinds.values() if "trak" in names)
    assert {"gradient-dot", "gradient-cosine", "relative-if", "renorm-if"} <= set(shared)
    for features in kinds:
        assert {each.noise for each in features} == {"shared"}


@pytest.fixture(scope="module")
def full_model(tmp_path_factory) -> str:
    """An epoch on 24 digits."""
    config = TrainingConfig(
        images=POOL,
        out=tmp_path_factory.mktemp("full") / "model",
        device="cpu",
        architecture=ArchitectureOptions(
            block_out_channels=(8,), layers_per_block=1, attention_levels=(), norm_num_groups=4
        ),
        noise_schedule=NoiseScheduleOptions(num_train_timesteps=100),
        optimisation=OptimisationOptions(epochs=1, batch_size=8),
    )
    return str(train(config, visible=False).path)


def small(model: str, out: Path, **changes) -> ModelDependenceConfig:
    options = {"validation": "sklearn:digits[30:34]", "generated": 3, "repeated": 2}
    options |= {"methods": ("best", "pixel-cosine"), "quiet": True}
    return ModelDependenceConfig(out=out, model=model, **{**options, **changes})


@pytest.fixture(scope="module")
def measured(full_model, tmp_path_factory) -> ModelDependenceConfig:
    config = small(full_model, tmp_path_factory.mktemp("measured") / "out")
    measure_model_dependence(config)
    return config


def numbers_of(config: ModelDependenceConfig) -> dict:
    found: dict = json.loads(config.out.with_suffix(".json").read_text())
    return found


def test_a_run_answers_all_questions_and_keeps_models_and_scores(measured):
    numbers = numbers_of(measured)
    assert (numbers["images"], numbers["validation"]) == (24, 4)
    rows = numbers["seen_half"]
    assert [(row["form"], row["method"]) for row in rows] == [
        (form, method) for form in FORMS for method in ("best", "pixel-cosine")
    ]
    for row in rows:
        if row["method"] == "pixel-cosine" and "difference" in row["form"]:
            assert row["top"]["5"]["value"] == 0.5
    assert len(numbers["repeated_rows"]) == 4
    assert len(numbers["left_out"]) == 2
    page = measured.out.with_suffix(".md").read_text()
    best = rows[0]["top"]["1"]
    assert f"{best['value']:.3f} +- {best['standard_error']:.3f}" in page
    kept = {path.name for path in measured.work.iterdir()}
    assert {*HALVES, REPEATED, "half-0-generated", "repeated.npy", "scores"} <= kept
    assert {path.suffix for path in (measured.work / "scores").iterdir()} == {".npz"}


def test_what_is_done_is_not_done_again(measured, monkeypatch):
    before = numbers_of(measured)
    monkeypatch.setattr(scoring, "run_scoring_job", None)
    weights = measured.work / "half-0/unet/diffusion_pytorch_model.safetensors"
    trained = weights.stat().st_mtime_ns
    measure_model_dependence(measured)
    assert weights.stat().st_mtime_ns == trained
    assert numbers_of(measured)["seen_half"] == before["seen_half"]


def test_the_control_without_a_model_scores_alike_under_every_model(measured):
    config = dataclasses.replace(measured, repeated=0, methods=("pixel-rbf",))
    measure_model_dependence(config)
    for row in numbers_of(config)["seen_half"]:
        if "difference" in row["form"]:
            assert row["top"]["5"]["value"] == 0.5


def test_without_repeated_images_the_halves_alone_are_compared(measured, tmp_path):
    config = dataclasses.replace(measured, repeated=0, validation=None, methods=("pixel-cosine",))
    page = measure_model_dependence(config).path.read_text()
    numbers = numbers_of(config)
    assert "repeated_rows" not in numbers
    assert len(numbers["left_out"]) == 1
    assert "## (c)" in page
    assert "## (b)" not in page
    assert REPEATED not in asked(config)
    elsewhere = dataclasses.replace(config, out=tmp_path / "out")
    training = trainings(elsewhere, open_pool(config), draw_design(24, 0, seed=0))
    assert [each.out.name for each in training] == list(HALVES)


def test_other_halves_are_refused_where_models_of_these_are(measured):
    with pytest.raises(FingerprintMismatchError):
        measure_model_dependence(dataclasses.replace(measured, subset_seed=9))


def test_ctrl_c_keeps_finished_scores(measured, monkeypatch):
    config = dataclasses.replace(measured, methods=("best", "gradient-dot"))
    run = scoring.run_scoring_job
    done: list[str] = []

    def twice(job):
        if len(done) == 2:
            raise KeyboardInterrupt
        run(job)
        done.append(job.model)

    monkeypatch.setattr(scoring, "run_scoring_job", twice)
    with pytest.raises(InterruptedRunError, match="scores of 6 of 8"):
        measure_model_dependence(config)
    assert len(done) == 2
    assert len([job for job in jobs_of(config) if job.scores_file.exists()]) == 6


def jobs_of(config: ModelDependenceConfig) -> list[scoring.ScoringJob]:
    return scoring.scoring_jobs(config, open_pool(config))


def test_models_of_halves_and_of_repeated_images_follow_the_recipe(measured, tmp_path):
    pool = open_pool(measured)
    design = draw_design(24, 2, seed=0)
    config = dataclasses.replace(measured, out=tmp_path / "out", seed=5)
    first, second, repeated = trainings(config, pool, design)
    positions = [np.load(each.subset) for each in (first, second) if each.subset]
    assert sorted(np.concatenate(positions).tolist()) == list(range(24))
    assert {each.seed for each in (first, second, repeated)} == {5}
    for each in (first, second, repeated):
        assert each.architecture == pool.training.architecture
        assert each.noise_schedule == pool.training.noise_schedule
    assert repeated.optimisation.total_steps(99) == 2  # those of an epoch of a half
    shown = open_images(repeated.images, None, repeated.image_options, visible=False)
    assert len(shown) == 24 + 2 * 9 + 2 * 49
    images = pixels(pool.images)
    np.testing.assert_array_equal(pixels(shown), np.repeat(images, design.times, axis=0))


def test_a_candidate_without_a_score_is_refused(measured, monkeypatch):
    config = dataclasses.replace(measured, methods=("gradient-cosine",))
    monkeypatch.setattr(f"{scoring.__name__}.ScoresFile.block", lambda *_: np.array([np.nan]))
    with pytest.raises(InputError, match="no score by gradient-cosine"):
        measure_model_dependence(config)


def test_what_cannot_be_asked_is_refused_before_anything_is_trained(
    full_model, tmp_path, monkeypatch
):
    monkeypatch.setattr(run_module, "make_models", None)
    out = tmp_path / "out"
    for name in ("nothing", "datamodel", "clip-cosine", "gas"):
        with pytest.raises(ConfigurationError, match=f"--methods {name}"):
            small(full_model, out, methods=(name,))
    with pytest.raises(ConfigurationError, match="--validation"):
        small(full_model, out, validation=None)
    with pytest.raises(InputError):
        measure_model_dependence(small(full_model, out, validation=str(tmp_path / "gone")))
    with pytest.raises(ConfigurationError, match="LoRA"):
        measure_model_dependence(small(EMBEDDED_LORA, out))
    with pytest.raises(ConfigurationError, match="--repeated"):
        measure_model_dependence(small(full_model, out, repeated=7))
    assert not out.with_name("out.work").exists()
