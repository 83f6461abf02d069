"""Retraining on subsets: what the truth file holds, and that it is the same however it came."""

import dataclasses
import json
import os
import pickle
import shutil
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from distributed import LocalCluster
from PIL import Image

from dtrak_stream.data.images import open_images
from dtrak_stream.errors import (
    ConfigurationError,
    DtrakStreamError,
    FingerprintMismatchError,
    InputError,
    InterruptedRunError,
)
from dtrak_stream.evaluation.losses import LossMeter
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.evaluation.recipe import read_recipe
from dtrak_stream.evaluation.retrained_models import make_missing, train_model
from dtrak_stream.evaluation.retraining import run
from dtrak_stream.evaluation.retraining.configuration import WorkerOptions
from dtrak_stream.evaluation.retraining.plan import plan_retraining
from dtrak_stream.evaluation.retraining.run import retrain_subsets
from dtrak_stream.evaluation.subsets import draw_subset
from dtrak_stream.evaluation.truth import TruthFile
from dtrak_stream.support.writers import Writer
from tests.crashing import finishes_before_step, start_beside
from tests.evaluation.conftest import IMAGES, MORE_QUERIES, QUERIES, retraining
from tests.small_jobs import flags, random_pixels, save_images, signalled, spoil, start_tool

SETS = (QUERIES, f"more={MORE_QUERIES}")


@pytest.fixture(scope="module")
def whole(full_model, tmp_path_factory) -> Path:
    """A truth file of two subsets, two seeds and two sets of queries, made in one go."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "truth.npz"
    return retrain_subsets(retraining(full_model, out, seeds=2, query=SETS)).path


def test_truth_file_holds_masks_losses_and_what_they_are(whole, full_model):
    with np.load(whole) as truth:
        arrays = dict(truth)
    assert arrays["mask"].dtype == np.bool_
    assert arrays["mask"].shape == (2, 20)
    for number, mask in enumerate(arrays["mask"]):
        assert (mask == draw_subset(20, 10, seed=0, number=number)).all()
    assert arrays["loss_seeds"].shape == (2, 2, 5)
    assert arrays["loss_more_seeds"].shape == (2, 2, 3)
    for key in ("loss", "loss_more"):
        np.testing.assert_array_equal(arrays[key], arrays[f"{key}_seeds"].mean(axis=0))
    assert len(np.unique(arrays["loss_seeds"])) == 20
    ids = [sample.decode() for sample in arrays["query_id_more"].tolist()]
    assert ids == open_images(MORE_QUERIES).sample_ids(0, 3)
    attributes = json.loads(str(arrays["attributes"]))
    assert attributes["timesteps"] == [0, 13, 26]
    assert attributes["train-seeds"] == [0, 1]
    assert attributes["recipe"]["epochs"] == 2
    assert attributes["recipe"]["image-identity"] == open_images(IMAGES).identity()
    assert attributes["queries"]["loss_more"]["name"] == "more"


def test_losses_are_those_of_the_recipe_on_the_subset(whole, full_model, tmp_path):
    truth = TruthFile(whole)
    np.save(tmp_path / "subset.npy", np.flatnonzero(truth.mask[1]))
    recipe = read_recipe(full_model, device="cpu", visible=False)
    assert recipe.config.seed == 7
    model = train_model(recipe.on_subset(tmp_path / "subset.npy", tmp_path / "model", 1))
    meter = LossMeter(model.denoiser, LossOptions(loss_timesteps="3", loss_batch=8))
    losses = truth.loss_of_seeds("loss")
    assert losses is not None
    np.testing.assert_array_equal(losses[1, 1], meter.of_images(open_images(QUERIES)))


def test_kill_9_at_any_step_and_resume_give_the_same_bytes(full_model, tmp_path):
    whole = retrain_subsets(retraining(full_model, tmp_path / "whole.npz")).path.read_bytes()
    config = retraining(full_model, tmp_path / "truth.npz")
    step, killed = 4, 0
    while not finishes_before_step(lambda: retrain_subsets(config), step):
        step, killed = step + 9, killed + 1  # each start gets a little farther
    assert killed > 2
    assert config.out.read_bytes() == whole


def listed(config) -> list[str]:
    """Return the command line of a configuration, its list of queries spelt out."""
    words = flags(config)
    place = words.index("--query")
    return [*words[:place], "--query", *config.query, *words[place + 2 :]]


def test_kill_9_of_two_workers_and_finishing_with_one_give_the_same_bytes(
    full_model, tmp_path, whole
):
    out = tmp_path / "truth.npz"
    config = retraining(full_model, out, seeds=2, query=SETS, workers=2)
    process = start_tool("retrain_subsets", listed(config))
    work = out.with_name("truth.npz.work")
    workers: list[psutil.Process] = []

    def model_is_kept() -> bool:
        workers[:] = psutil.Process(process.pid).children(recursive=True)
        return any(work.glob("loss/rows/*.safetensors"))

    code, _, _ = signalled(process, signal.SIGKILL, model_is_kept, 0.0)
    assert code == -signal.SIGKILL
    assert not out.exists()
    assert len(workers) >= 2
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
    retrain_subsets(retraining(full_model, out, seeds=2, query=SETS, workers=1))
    assert out.read_bytes() == whole.read_bytes()


def test_two_runs_at_once_share_the_models(full_model, tmp_path, whole):
    config = retraining(full_model, tmp_path / "truth.npz", seeds=2, query=SETS)
    made = [tmp_path / name for name in ("first", "second")]
    both = [
        start_beside(lambda told=told: told.write_text(str(retrain_subsets(config).models)))  # type: ignore[misc]
        for told in made
    ]
    assert [os.waitpid(process, 0)[1] for process in both] == [0, 0]
    assert config.out.read_bytes() == whole.read_bytes()
    assert sum(int(told.read_text()) for told in made) == 4
    assert not list(tmp_path.rglob("*.claim"))


def test_a_run_that_finishes_earlier_leaves_what_one_with_more_models_needs(
    full_model, tmp_path, whole, monkeypatch
):
    smaller = retraining(full_model, tmp_path / "truth.npz", subsets=1, query=SETS)
    larger = dataclasses.replace(smaller, subsets=2, seeds=2)
    work = tmp_path / "truth.npz.work"
    made: list[int] = []

    def make_when_the_other_is_done(jobs, *rest, **named):
        monkeypatch.setattr(run, "make_missing", make_missing)
        made.append(retrain_subsets(smaller).models)
        assert {file.name for file in (work / "subsets").iterdir()} == {"0000.npy", "0001.npy"}
        return make_missing(jobs, *rest, **named)

    monkeypatch.setattr(run, "make_missing", make_when_the_other_is_done)
    made.append(retrain_subsets(larger).models)
    assert made == [1, 3]
    assert larger.out.read_bytes() == whole.read_bytes()
    assert not any((work / name).exists() for name in ("subsets", "claims", "models"))


def test_what_a_dead_run_claimed_is_removed_by_the_next(full_model, tmp_path):
    process = start_beside(lambda: None)
    writer = dataclasses.replace(Writer.here(), process=process)
    os.waitpid(process, 0)
    claim = tmp_path / "truth.npz.work" / "claims" / "run-0.claim"
    config = retraining(full_model, tmp_path / "truth.npz", subsets=1)
    plan_retraining(config).claim()
    claim.parent.mkdir()
    claim.write_text(writer.spelling)
    retrain_subsets(config)
    assert not claim.parent.exists()


def test_interrupted_run_says_what_is_kept(full_model, tmp_path, monkeypatch):
    losses = LossMeter.of_images
    calls = []

    def interrupted(meter, images):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return losses(meter, images)

    config = retraining(full_model, tmp_path / "truth.npz")
    with monkeypatch.context() as patch:
        patch.setattr(LossMeter, "of_images", interrupted)
        with pytest.raises(InterruptedRunError, match="1 of 2 models are kept"):
            retrain_subsets(config)
    assert retrain_subsets(config).models == 1


def test_dask_scheduler_gives_the_same_bytes(full_model, tmp_path, whole, no_old_clients):
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=""
    ) as c:
        config = retraining(full_model, tmp_path / "truth.npz", seeds=2, query=SETS)
        where = WorkerOptions(scheduler=c.scheduler_address, device="cpu")
        retrain_subsets(dataclasses.replace(config, where=where))
    assert (tmp_path / "truth.npz").read_bytes() == whole.read_bytes()


def test_more_subsets_and_seeds_keep_the_models_that_are_there(full_model, tmp_path, whole):
    out = tmp_path / "truth.npz"
    assert retrain_subsets(retraining(full_model, out, subsets=1, query=SETS)).models == 1
    assert retrain_subsets(retraining(full_model, out, subsets=2, query=SETS)).models == 1
    assert retrain_subsets(retraining(full_model, out, seeds=2, query=SETS)).models == 2
    assert out.read_bytes() == whole.read_bytes()


def test_truth_file_alone_is_enough_to_go_on(full_model, tmp_path, whole):
    out = tmp_path / "truth.npz"
    config = retraining(full_model, out, seeds=1, query=SETS)
    retrain_subsets(config)
    shutil.rmtree(tmp_path / "truth.npz.work")
    before = out.stat().st_mtime_ns
    assert retrain_subsets(config).models == 0
    assert out.stat().st_mtime_ns == before
    assert retrain_subsets(dataclasses.replace(config, seeds=2)).models == 2
    assert out.read_bytes() == whole.read_bytes()


def test_some_subsets_alone_get_models_of_more_seeds(full_model, tmp_path, whole):
    out = tmp_path / "truth.npz"
    config = retraining(full_model, out, seeds=2, query=SETS, repeated_subsets=1)
    assert retrain_subsets(config).models == 3
    truth, all_of_both = TruthFile(out), TruthFile(whole)
    for key in truth.loss_keys:
        losses, expected = truth.loss_of_seeds(key), all_of_both.loss_of_seeds(key)
        assert losses is not None
        assert expected is not None
        np.testing.assert_array_equal(losses[:, 0], expected[:, 0])
        np.testing.assert_array_equal(losses[0, 1], expected[0, 1])
        assert np.isnan(losses[1, 1]).all()
        np.testing.assert_array_equal(truth.loss(key)[0], expected[:, 0].mean(axis=0))
        np.testing.assert_array_equal(truth.loss(key)[1], expected[0, 1])
    shutil.rmtree(tmp_path / "truth.npz.work")  # the file alone is enough to go on
    assert retrain_subsets(config).models == 0
    assert retrain_subsets(retraining(full_model, out, seeds=2, query=SETS)).models == 1
    assert out.read_bytes() == whole.read_bytes()


def test_repeats_need_a_second_seed_and_no_more_subsets_than_there_are(full_model, tmp_path):
    out = tmp_path / "truth.npz"
    for seeds, repeated, what in ((1, 1, "--seeds 2"), (2, 3, "from 1 to 2"), (2, 0, "from 1")):
        with pytest.raises(ConfigurationError, match=f"--repeated-subsets.*: .*{what}"):
            retraining(full_model, out, seeds=seeds, repeated_subsets=repeated)


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"repeated_subsets": 1}, "--repeated-subsets"),
        ({"subsets": 1}, "--subsets"),
        ({"seeds": 1}, "--seeds"),
        ({"query": (QUERIES,)}, "--query"),
    ],
)
def test_run_that_would_drop_results_is_refused(full_model, tmp_path, whole, changes, flag):
    shutil.copy(whole, tmp_path / "truth.npz")
    options = {"seeds": 2, "query": SETS, **changes}
    with pytest.raises(ConfigurationError, match=f"{flag}: .* would be lost"):
        retrain_subsets(retraining(full_model, tmp_path / "truth.npz", **options))
    assert (tmp_path / "truth.npz").read_bytes() == whole.read_bytes()


def test_models_are_kept_on_request_and_serve_further_queries(full_model, tmp_path):
    out = tmp_path / "truth.npz"
    retrain_subsets(retraining(full_model, out, subsets=1, keep_models=True))
    weights = out.with_name("truth.npz.work") / "models/0000-00/unet"
    before = {path: path.stat().st_mtime_ns for path in weights.iterdir()}
    retrain_subsets(retraining(full_model, out, subsets=1, keep_models=True, query=SETS))
    assert before == {path: path.stat().st_mtime_ns for path in weights.iterdir()}
    assert TruthFile(out).loss_keys == ("loss", "loss_more")


def test_models_are_removed_otherwise(whole):
    assert not (whole.with_name("truth.npz.work") / "models").exists()


def test_image_that_cannot_be_read_is_in_no_subset(full_model, tmp_path):
    folder = save_images(tmp_path / "images", random_pixels(12))
    spoil(folder / "003.png")
    model = tmp_path / "model"
    recipe = read_recipe(full_model, device="cpu", visible=False)
    train_model(dataclasses.replace(recipe.config, images=str(folder), out=model))
    result = retrain_subsets(retraining(str(model), tmp_path / "truth.npz", subsets=3))
    truth = TruthFile(result.path)
    assert result.quarantined == 1
    assert truth.attributes["left-out-images"] == [3]
    assert truth.mask.sum(axis=0)[3] == 0
    assert truth.mask.sum() < 18


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"alpha": 0.25}, "alpha"),
        ({"subset_seed": 1}, "subset-seed"),
        ({"query": (MORE_QUERIES,)}, "queries"),
        ({"loss": LossOptions(loss_timesteps="2")}, "loss-"),
    ],
)
def test_other_run_in_the_same_place_is_refused(full_model, tmp_path, whole, changes, named):
    for kept in ("truth.npz.work", "truth.npz"):  # either is enough
        out = tmp_path / kept.replace(".", "-") / "truth.npz"
        out.parent.mkdir()
        source = whole.with_name(kept)
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, out.with_name(kept))
        with pytest.raises(FingerprintMismatchError, match=named):
            retrain_subsets(retraining(full_model, out, **changes))


@pytest.mark.parametrize(
    ("query", "what"),
    [
        (("sklearn:digits[0:2]", "sklearn:digits[2:4]"), "no name"),
        (("a=sklearn:digits[0:2]", "a=sklearn:digits[2:4]"), "taken"),
        (("a=sklearn:digits[0:2]", "seeds=sklearn:digits[2:4]"), "reserved"),
    ],
)
def test_sets_of_queries_need_names_of_their_own(full_model, tmp_path, query, what):
    with pytest.raises(ConfigurationError, match=what):
        retrain_subsets(retraining(full_model, tmp_path / "truth.npz", query=query))


def test_refusals_come_before_any_training(full_model, tmp_path, model_folder):
    cases: list[tuple[type[DtrakStreamError], str, dict]] = [
        (InputError, "holds no training.yaml", {"model": model_folder}),
        (InputError, "does not exist", {"query": (str(tmp_path / "none"),)}),
        (FingerprintMismatchError, "image-identity", {"images": "sklearn:digits[1:21]"}),
        (ConfigurationError, "--alpha", {"alpha": 0.0}),
        (ConfigurationError, "--timesteps", {"loss": LossOptions(loss_timesteps="41")}),
        (InputError, "none.npy", {"stratify": tmp_path / "none.npy"}),
    ]
    for kind, what, changes in cases:
        options = {"model": full_model, **changes}
        model = options.pop("model")
        with pytest.raises(kind, match=what):
            retrain_subsets(retraining(model, tmp_path / "truth.npz", **options))
    assert not (tmp_path / "truth.npz.work").exists()


@pytest.mark.usefixtures("no_old_clients")
@pytest.mark.parametrize("where", [{"device": "none"}, {"scheduler": "here"}], ids=str)
def test_a_place_that_is_not_there_is_refused_and_nothing_is_written(full_model, tmp_path, where):
    config = retraining(full_model, tmp_path / "truth.npz")
    config = dataclasses.replace(config, where=WorkerOptions(**where))
    ((flag, value),) = where.items()
    with pytest.raises(DtrakStreamError, match=f"--{flag} {value}: no "):
        retrain_subsets(config)
    assert list(tmp_path.iterdir()) == []


def test_refusal_of_a_worker_reaches_the_parent_whole():
    error = FingerprintMismatchError("seed", 1, 2, where="here", remedy="do that")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.stored, copy.remedy) == (str(error), 1, "do that")


def test_queries_have_a_split_of_their_own(full_model, tmp_path):
    for split, count in (("train", 2), ("test", 3)):
        (tmp_path / "digits" / split).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (8, 8), number).save(tmp_path / "digits" / split / f"{number}.png")
    query = (str(tmp_path / "digits"),)
    config = retraining(full_model, tmp_path / "truth.npz", query=query, query_split="test")
    plan = plan_retraining(config)
    assert len(plan.opened(plan.queries[0])) == 3
    with pytest.raises(InputError, match="several splits"):
        plan_retraining(dataclasses.replace(config, query_split=None))


def test_every_second_subset_holds_what_the_one_before_leaves_out(full_model, tmp_path):
    out = tmp_path / "truth.npz"
    pairs = retraining(full_model, out, subsets=4, complements=True)
    mask = TruthFile(retrain_subsets(pairs).path).mask
    for number in (0, 2):
        np.testing.assert_array_equal(mask[number], draw_subset(20, 10, seed=0, number=number))
        np.testing.assert_array_equal(mask[number + 1], ~mask[number])
    with pytest.raises(FingerprintMismatchError, match="complements"):
        retrain_subsets(retraining(full_model, out, subsets=4))
    shutil.rmtree(out.with_name("truth.npz.work"))
    with pytest.raises(FingerprintMismatchError, match="complements"):
        retrain_subsets(retraining(full_model, out, subsets=4))


def test_complements_of_a_quarter_are_refused(full_model, tmp_path):
    with pytest.raises(ConfigurationError, match="--complements"):
        retraining(full_model, tmp_path / "truth.npz", alpha=0.25, complements=True)
