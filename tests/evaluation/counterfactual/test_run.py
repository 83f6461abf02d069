"""Counterfactuals: what is removed, that a run resumes, and what it leaves behind."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from dtrak_stream.data.images import open_images
from dtrak_stream.errors import (
    ConfigurationError,
    DtrakStreamError,
    FingerprintMismatchError,
    InputError,
    InterruptedRunError,
)
from dtrak_stream.evaluation.counterfactual.configuration import CounterfactualConfig, removal_count
from dtrak_stream.evaluation.counterfactual.plan import plan_counterfactual
from dtrak_stream.evaluation.counterfactual.queries import GeneratedQueries
from dtrak_stream.evaluation.counterfactual.results import clip_features, cosine
from dtrak_stream.evaluation.counterfactual.run import counterfactual
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.evaluation.retraining.configuration import WorkerOptions
from dtrak_stream.generation.configuration import GenerationConfig
from dtrak_stream.generation.run import generate
from tests.crashing import contents, finishes_before_step
from tests.evaluation.conftest import IMAGES
from tests.evaluation.synthetic import scores_of
from tests.features.conftest import save_clip

N, IDS = 20, ["00000.png", "00001.png"]
RESULTS = ("results.json", "summary.md", "index.html", "boxes.png", "strips.png")


@pytest.fixture(scope="module")
def generated(full_model, tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    out: Path = tmp_path_factory.mktemp("generated") / "images"
    config = GenerationConfig(
        out=out, model=full_model, count=2, seed=3, steps=4, batch_size=2, device="cpu"
    )
    generate(config, visible=False)
    return out


@pytest.fixture(scope="module")
def train_ids() -> list[str]:
    return open_images(IMAGES).sample_ids(0, N)


@pytest.fixture(scope="module")
def ours(tmp_path_factory, train_ids) -> Path:
    """Query 0 is due to images 0 to 4, query 1 to images 5 to 9."""
    scores = np.zeros((2, N), np.float32)
    scores[0, :5], scores[1, 5:10] = 1.0, 1.0
    path = tmp_path_factory.mktemp("scores") / "ours.h5"
    return scores_of(path, scores, train=train_ids, query=IDS)


def config_of(
    model: str, generated: Path, ours: Path, out: Path, **changes: Any
) -> CounterfactualConfig:
    config = CounterfactualConfig(
        scores=(f"ours={ours}",),
        generated=generated,
        out=out,
        model=model,
        queries=2,
        remove="25%",
        random=1,
        loss=LossOptions(loss_timesteps="3", loss_batch=8),
        where=WorkerOptions(device="cpu"),
        quiet=True,
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def whole(full_model, generated, ours, tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    out: Path = tmp_path_factory.mktemp("whole") / "run"
    result = counterfactual(config_of(full_model, generated, ours, out))
    assert result.models == 3  # one random removal for both queries, and one for each query
    assert result.path == out / "index.html"
    return out


def finished(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in RESULTS}


def test_highest_scores_are_removed(full_model, generated, ours, tmp_path):
    plan = plan_counterfactual(config_of(full_model, generated, ours, tmp_path / "run"))
    removed = {number: plan.removals["ours"][number][0].removed.tolist() for number in (0, 1)}
    assert removed == {0: [0, 1, 2, 3, 4], 1: [5, 6, 7, 8, 9]}
    random = plan.removals["random"]
    assert random[0] == random[1]
    assert len(random[0][0].removed) == 5
    assert len(random[0][0].kept) == 15


def test_images_that_were_removed_are_in_no_random_removal(
    full_model, generated, tmp_path, train_ids
):
    scores = np.arange(2 * N, dtype=np.float32).reshape(2, N)
    scores[:, 3:] = np.nan
    path = scores_of(tmp_path / "back.h5", scores, train=train_ids[::-1], query=IDS)
    with h5py.File(path, "a") as file:
        file["train_removed"] = np.arange(3, N)
    config = config_of(full_model, generated, path, tmp_path / "run", remove="2", random=8)
    plan = plan_counterfactual(config)
    drawn = {int(row) for each in plan.removals["random"][0] for row in each.removed}
    assert drawn == {N - 1, N - 2, N - 3}
    with pytest.raises(ConfigurationError, match="how many of 3 images"):
        plan_counterfactual(dataclasses.replace(config, remove="3"))


def test_training_images_in_another_order_are_matched_by_name(
    full_model, generated, tmp_path, train_ids
):
    scores = np.arange(2 * N, dtype=np.float32).reshape(2, N)
    scores[0, 3] = np.nan  # never removed
    path = scores_of(tmp_path / "back.h5", scores, train=train_ids[::-1], query=IDS)
    config = config_of(full_model, generated, path, tmp_path / "run", remove="19")
    plan = plan_counterfactual(config)
    assert plan.removals["ours"][0][0].kept.tolist() == [N - 1 - 3]
    assert plan.removals["ours"][1][0].kept.tolist() == [N - 1]


def test_results_hold_every_measure_and_the_page_its_figures(whole):
    results = json.loads((whole / "results.json").read_text())
    assert results["removed"] == 5
    assert results["queries"] == [0, 1]
    for method in ("random", "ours"):
        values = results["values"][method]
        assert np.shape(values["pixel L2"]) == np.shape(values["loss change"]) == (2, 1)
        assert results["medians"][method]["pixel L2"] == np.median(values["pixel L2"]) > 0
    assert (whole / "index.html").read_text().count("data:image/png;base64,") == 2
    assert "| method | median pixel L2 | median loss change |" in (whole / "summary.md").read_text()
    assert not (whole / "models").exists()


def test_removing_nothing_that_matters_is_measured_against_the_same_image(
    full_model, generated, ours, tmp_path
):
    plan = plan_counterfactual(config_of(full_model, generated, ours, tmp_path / "run"))
    again = plan.queries.again(plan.full, 1).astype(int)
    assert np.abs(again - plan.queries.original(1)).max() <= 1


def test_kill_9_at_any_step_and_resume_give_the_same_results(
    full_model, generated, ours, whole, tmp_path
):
    config = config_of(full_model, generated, ours, tmp_path / "run")
    step, killed = 12, 0
    while not finishes_before_step(lambda: counterfactual(config), step):
        step, killed = step + 23, killed + 1
    assert killed > 1
    assert finished(config.out) == finished(whole)


def test_interrupted_run_goes_on(full_model, generated, ours, whole, tmp_path, monkeypatch):
    config, calls = config_of(full_model, generated, ours, tmp_path / "run"), []
    again = GeneratedQueries.again

    def interrupted(queries, denoiser, number):
        calls.append(number)
        if len(calls) == 4:  # one call checks the model; the random model makes two images
            raise KeyboardInterrupt
        return again(queries, denoiser, number)

    with monkeypatch.context() as patch:
        patch.setattr(GeneratedQueries, "again", interrupted)
        with pytest.raises(InterruptedRunError, match="1 of 3 models are kept"):
            counterfactual(config)
    assert counterfactual(config).models == 2
    assert finished(config.out) == finished(whole)
    before = contents(config.out / "outcomes")
    assert counterfactual(config).models == 0
    assert contents(config.out / "outcomes") == before


def test_more_methods_keep_the_models_that_are_there(
    full_model, generated, ours, tmp_path, train_ids
):
    config = config_of(full_model, generated, ours, tmp_path / "run")
    counterfactual(config)
    other = np.zeros((2, N), np.float32)
    other[0, :5], other[1, 10:15] = 1.0, 1.0  # query 0 as `ours` has it
    path = scores_of(tmp_path / "other.h5", other, train=train_ids, query=IDS)
    more = dataclasses.replace(config, scores=(f"ours={ours}", f"other={path}"))
    result = counterfactual(more)
    assert result.models == 1
    assert [method.name for method in result.results.methods] == ["random", "ours", "other"]


def test_clip_cosine_of_an_image_with_itself_is_one(tmp_path):
    images = [
        np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        for seed, shape in enumerate([(8, 8, 1), (20, 12, 3)])
    ]
    features = clip_features(save_clip(tmp_path / "clip"))(images)
    assert features.shape == (2, 12)
    assert cosine(features[0], features[0]) == pytest.approx(1.0)
    assert cosine(features[0], features[1]) < 0.9999


@pytest.mark.parametrize(
    ("text", "count"), [("20%", 4), ("7", 7), ("0.5%", 0), ("20", 0), ("x", 0), ("-1", 0)]
)
def test_removal_is_a_number_or_a_share(text, count):
    if count:
        assert removal_count(text, N) == count
    else:
        with pytest.raises(ConfigurationError, match="--remove"):
            removal_count(text, N)


def test_other_loss_in_the_same_folder_is_refused(full_model, generated, ours, whole):
    config = config_of(full_model, generated, ours, whole, loss=LossOptions(loss_timesteps="2"))
    with pytest.raises(FingerprintMismatchError, match="loss-"):
        counterfactual(config)


@pytest.mark.usefixtures("no_old_clients")
def test_refusals_come_before_any_training(
    full_model, generated, ours, tmp_path, other_model_folder, train_ids
):
    few = scores_of(tmp_path / "few.h5", np.ones((1, N)), train=train_ids, query=IDS[:1])
    blank = np.full((2, N), np.nan)
    nothing = scores_of(tmp_path / "nan.h5", blank, train=train_ids, query=IDS)
    cases: list[tuple[type[DtrakStreamError], str, dict]] = [
        (ConfigurationError, "has no name", {"scores": (str(ours),)}),
        (ConfigurationError, "not a method", {"scores": (f"random={ours}",)}),
        (InputError, "holds no generation.yaml", {"generated": tmp_path}),
        (InputError, "holds no image 00002.png", {"queries": 3}),
        (InputError, "no scores for the query 00001.png", {"scores": (f"ours={few}",)}),
        (ConfigurationError, "ranks 0 training images", {"scores": (f"ours={nothing}",)}),
        (InputError, "training.yaml", {"model": other_model_folder}),
        (FingerprintMismatchError, "image-identity", {"images": "sklearn:digits[1:21]"}),
        (InputError, "--scheduler here", {"where": WorkerOptions(scheduler="here")}),
        (DtrakStreamError, "clip", {"clip": str(tmp_path / "clip")}),
    ]
    for kind, what, changes in cases:
        config = config_of(full_model, generated, ours, tmp_path / "run")
        config = dataclasses.replace(config, **changes)
        with pytest.raises(kind, match=what):
            counterfactual(config)
    assert not (tmp_path / "run").exists()


def test_images_of_another_model_are_refused(full_model, generated, ours, tmp_path):
    copy = shutil.copytree(generated, tmp_path / "images")
    fingerprint = json.loads((copy / "fingerprint.json").read_text())
    (copy / "fingerprint.json").write_text(json.dumps({**fingerprint, "weights": "other"}))
    with pytest.raises(FingerprintMismatchError, match="weights"):
        counterfactual(config_of(full_model, copy, ours, tmp_path / "run"))


@pytest.fixture
def scored(generated, train_ids, tmp_path):
    """Scores of the training images and both generated ones, and any hashes."""

    def path_of(**images: Any) -> Path:
        scores = np.arange(2 * N, dtype=np.float32).reshape(2, N)
        return scores_of(tmp_path / "scored.h5", scores, train=train_ids, query=IDS, **images)

    return path_of


def hashes_of(generated: Path) -> dict[str, str]:
    train, query = (open_images(str(each), visible=False) for each in (IMAGES, generated))
    return {"train_images": train.identity(), "query_images": query.identity()}


def test_scores_of_the_same_images_are_taken_without_a_word(
    full_model, generated, scored, tmp_path, capsys
):
    path = scored(**hashes_of(generated))
    plan_counterfactual(config_of(full_model, generated, path, tmp_path / "run"))
    assert "could not be checked" not in capsys.readouterr().err


@pytest.mark.parametrize("side", ["train_images", "query_images"])
def test_scores_of_other_images_with_the_same_names_are_refused(
    full_model, generated, scored, tmp_path, side
):
    path = scored(**{**hashes_of(generated), side: "others"})
    with pytest.raises(FingerprintMismatchError, match=rf"\({side} of .* stored 'others'"):
        plan_counterfactual(config_of(full_model, generated, path, tmp_path / "run"))


def test_scores_that_do_not_tell_their_images_are_taken_with_a_line_that_says_so(
    full_model, generated, scored, tmp_path, capsys
):
    plan_counterfactual(config_of(full_model, generated, scored(), tmp_path / "run"))
    assert "training images and queries of" in capsys.readouterr().err


def test_generated_images_that_were_scored_in_another_order_are_not_compared(
    full_model, generated, train_ids, tmp_path, capsys
):
    images: dict[str, Any] = {**hashes_of(generated), "query_images": "others"}
    scores = np.arange(2 * N, dtype=np.float32).reshape(2, N)
    path = tmp_path / "scores.h5"
    scores_of(path, scores, train=train_ids, query=IDS[::-1], **images)
    plan_counterfactual(config_of(full_model, generated, path, tmp_path / "run"))
    told = capsys.readouterr().err
    assert f"that the queries of {path} are those of {generated} could not be checked" in told


def test_a_generated_image_that_was_changed_is_refused(full_model, generated, ours, tmp_path):
    images = shutil.copytree(generated, tmp_path / "images")
    shutil.copy(images / "00000.png", images / "00001.png")
    with pytest.raises(FingerprintMismatchError, match="images differs"):
        plan_counterfactual(config_of(full_model, images, ours, tmp_path / "out"))
