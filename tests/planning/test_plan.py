"""Planning: what is foreseen is what a run does, and what it would refuse."""

from __future__ import annotations

import dataclasses
import re
import shutil
import time
from collections import namedtuple

import numpy as np
import pytest
import torch

from dtrak_stream.cli.command_line import EXIT_DONE, EXIT_REFUSED
from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import (
    ConfigurationError,
    DiskFullError,
    DtrakStreamError,
    MemoryLimitError,
)
from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.featurizing.execution import Execution
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.gram.file import Gram
from dtrak_stream.gram.options import GramOptions
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.planning import models
from dtrak_stream.planning.calibration import RandomImages, measure_arithmetic
from dtrak_stream.planning.run import plan
from dtrak_stream.planning.stages import StagePlan, duration
from dtrak_stream.scoring.options import ScoreOptions
from dtrak_stream.store.shard import PAGE
from tests.featurizing.test_captions import save_captioned
from tests.model.text_pipelines import TEXT_PIPELINES, TOKENS
from tests.planning.conftest import QUERIES, TRAIN, config, size_of, stages_of
from tests.small_jobs import run_tool, small_features, small_job


def test_the_room_on_disk_is_what_a_run_takes(finished):
    planned, run = finished
    stages = stages_of(plan(planned))
    for side in ("train", "query"):
        shards = list((run / side / "shards").iterdir())
        taken = size_of(run / side / "shards")
        assert taken <= stages[f"{side} features"].disk <= taken + 4 * PAGE * len(shards)
    for name, path in (("Gram matrix", run / "gram.h5"), ("scores", run / "scores.h5")):
        beside = 16 * PAGE  # headers and ids, which no plan counts
        assert stages[name].disk <= size_of(path) <= stages[name].disk + beside


def test_the_form_of_the_gram_matrix_is_that_of_a_run(finished):
    planned, run = finished
    gram = Gram.open(run / "gram.h5")
    size = gram.size
    assert f"{gram.form}, {size} x {size}, 1 tile" in stages_of(plan(planned))["Gram matrix"].note


def test_a_larger_set_takes_more_room_and_has_the_primal_form(model_folder, tmp_path):
    result = stages_of(plan(config(model_folder, tmp_path, train_samples=10**6)))
    features = result["train features"]
    assert features.disk > 10**6 * 4096 * 4
    assert "1,000,000 x 4,096 float32, 200,000 shards" in features.note
    assert result["Gram matrix"].note.startswith("primal, 4,096 x 4,096")
    assert result["Gram matrix"].disk == 8 * 4096**2


def test_nothing_is_written(model_folder, tmp_path):
    plan(config(model_folder, tmp_path / "run"))
    assert not list(tmp_path.iterdir())


def test_times_are_told_only_if_something_was_measured(model_folder, tmp_path, capsys):
    assert all(stage.seconds is None for stage in plan(config(model_folder, tmp_path)).stages)
    assert "about" not in capsys.readouterr().err
    stages = stages_of(plan(config(model_folder, tmp_path, measured_images=2)))
    ratio = stages["train features"].seconds / stages["query features"].seconds  # type: ignore[operator]
    assert ratio == pytest.approx(TRAIN / QUERIES)
    assert "images/s" in stages["train features"].note
    assert re.search(
        r"in all: .* on disk, at most .* of memory and .* for the process itself, about",
        capsys.readouterr().err,
    )


def test_as_many_images_are_measured_as_a_run_takes_at_once(model_folder, tmp_path, monkeypatch):
    seen: list[int] = []
    features = Featurizer.features

    def recording(self, batch):
        seen.append(len(batch))
        return features(self, batch)

    monkeypatch.setattr(Featurizer, "features", recording)
    options = {"measured_images": 1, "execution": ExecutionOptions("hooked", 4)}
    result = plan(config(model_folder, tmp_path, **options))
    assert seen == [4, 4, 4]
    assert "engine hooked, batches of 4" in result.stages[0].note
    seen.clear()
    plan(config(model_folder, tmp_path, **{**options, "measured_images": 14}))
    assert seen == [4, 4, 4, 4]
    seen.clear()
    options["execution"] = ExecutionOptions("hooked", 64)
    plan(config(model_folder, tmp_path, **options))
    assert seen == [5, 5, 5]  # a batch is of one shard


def test_no_further_batch_is_measured_once_that_took_long(model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("dtrak_stream.planning.calibration._PATIENCE", 0.0)
    result = plan(config(model_folder, tmp_path, measured_images=100))
    assert result.stages[0].seconds is not None


def test_the_time_to_begin_is_told_and_in_the_total(model_folder, tmp_path, monkeypatch, capsys):
    def slow(*_):
        time.sleep(1.6)
        return Execution("timestep-batched", 2, 2, (), "")

    monkeypatch.setattr("dtrak_stream.planning.calibration.choose_execution", slow)
    result = plan(config(model_folder, tmp_path, measured_images=1))
    assert result.begin > 1.6 > result.cpu_begin > 0
    assert re.search(r"about \d+ s, \d+ s of it to begin", capsys.readouterr().err)


def test_the_disk_of_kept_latents_is_what_a_run_takes_of_it(tmp_path):
    model, cache = TEXT_PIPELINES["sd"].save(tmp_path / "sd"), tmp_path / "cache"
    planned = config(model, tmp_path / "run", cache_latents=cache, train_samples=2)
    kept = stages_of(plan(planned))["kept latents"]
    assert not cache.exists()
    captions = ("a red cat", "9 dogs", "a dog")
    for side, some in (("train", captions[:2]), ("query", captions)):
        job = small_job(model, save_captioned(tmp_path / side, some), tmp_path / f"{side}-store")
        featurize(dataclasses.replace(job, cache_latents=cache / side))
    conditioner = load_denoiser(model).conditioner
    assert conditioner is not None
    encoder = conditioner.networks["text_encoder"]
    numbers = encoder(torch.zeros(1, TOKENS).long()).last_hidden_state
    embedding = numbers.nbytes + 16 + 8  # the hash of the text, the checksum
    latents = sum(path.stat().st_size for path in cache.glob("*/latents.bin"))
    assert kept.disk == latents + (2 + 3) * embedding
    assert "5 images" in kept.note


def test_latents_of_a_model_without_any_are_refused(model_folder, tmp_path):
    with pytest.raises(ConfigurationError, match=r"--cache-latents .*no latents; leave it out"):
        plan(config(model_folder, tmp_path, cache_latents=tmp_path / "cache"))


def test_the_memory_of_scoring_is_the_least_that_cuts_it_alike(model_folder, tmp_path):
    def scores(limit: str) -> StagePlan:  # without a Gram matrix, which needs more
        options: dict[str, object] = {
            "gram_options": GramOptions(memory_limit=limit),
            "score_options": ScoreOptions("gradient-dot", top_k=4),
        }
        return stages_of(plan(config(model_folder, tmp_path, **options)))["scores"]

    one_pass = scores("1GiB")
    assert "1 pass over" in one_pass.note
    assert scores(str(one_pass.memory)).note == one_pass.note
    assert "2 passes over" in scores(str(one_pass.memory - 1)).note


def test_random_images_are_those_of_their_numbers():
    images = RandomImages(5, ImageShape(3, 4, 6))
    assert images.sample_ids(1, 9) == ["1", "2", "3", "4"]
    assert images.image(2).shape == (3, 4, 6)
    assert np.array_equal(images.image(2), images.image(2))
    assert not np.array_equal(images.image(2), images.image(3))
    assert images.image(0).abs().max() <= 1
    assert (len(images), images.sample_id(4)) == (5, "4")


def test_random_images_have_captions_of_their_own():
    images = RandomImages(5, ImageShape(3, 4, 6), "caption")
    captions = images.conditions(1, 9)
    assert captions is not None
    assert len(set(captions)) == len(captions) == 4
    assert RandomImages(5, ImageShape(3, 4, 6), "class label").conditions(3, 9) == [0, 0]
    assert RandomImages(5, ImageShape(3, 4, 6)).conditions(0, 5) is None


def test_memory_is_what_the_process_grew_by_and_at_least_the_weights(
    model_folder, tmp_path, monkeypatch
):
    def memory_of_features(grown):
        peaks = iter([2**30, 2**30 + grown])
        monkeypatch.setattr(models, "peak_memory_on", lambda _: next(peaks))
        return stages_of(plan(config(model_folder, tmp_path)))["train features"].memory

    least = memory_of_features(0)
    weights = sum(each.nbytes for each in load_denoiser(model_folder).network.parameters())
    assert least > weights
    assert memory_of_features(weights + 2**20) == least + 2**20


def test_the_total_tells_of_the_process_itself(model_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dtrak_stream.planning.run.peak_memory", lambda: 3 * 2**30)
    plan(config(model_folder, tmp_path))
    assert " of memory and 3.0 GiB for the process itself" in capsys.readouterr().err


def test_arithmetic_is_timed():
    speed = measure_arithmetic()
    assert speed.single > 0
    assert speed.double > 0


def test_a_gram_matrix_that_does_not_fit_is_said_and_refused(model_folder, tmp_path, capsys):
    planned = config(model_folder, tmp_path, gram_options=GramOptions(memory_limit="10kB"))
    with pytest.raises(MemoryLimitError, match="Gram matrix"):
        plan(planned)
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("train features: ") for line in lines)
    assert any(line.startswith("refused: --memory-limit") for line in lines)


def test_a_disk_that_is_too_small_is_refused(model_folder, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 5, 5))
    with pytest.raises(DiskFullError, match="5 B are free"):
        plan(config(model_folder, tmp_path))


def test_shards_that_do_not_fit_in_memory_are_refused(model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("dtrak_stream.planning.run.usable_memory", lambda: 1000)
    with pytest.raises(MemoryLimitError, match="--rows-per-shard 5"):
        plan(config(model_folder, tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_samples": 0}, "--train-samples 0"),
        ({"query_samples": 0}, "--query-samples 0"),
        ({"measured_images": -1}, "--measured-images -1"),
        ({"image_shape": "3x32x32"}, "the model wants 1x8x8"),
        ({"score_options": ScoreOptions(method="magic")}, "--method magic"),
        ({"features": small_features(output_function="simple")}, "d-trak takes features of"),
        ({"features": small_features(proj_dim=65)}, "--proj-dim 65"),
    ],
)
def test_options_that_a_run_refuses_are_refused(model_folder, tmp_path, changes, message):
    with pytest.raises(DtrakStreamError, match=message) as refusal:
        plan(dataclasses.replace(config(model_folder, tmp_path), **changes))
    assert isinstance(refusal.value, ConfigurationError)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59.6, "60 s"), (200, "3.3 min"), (10_000, "2.8 h"), (10**6, "11.6 days")],
)
def test_times_are_written_for_a_reader(seconds, text):
    assert duration(seconds) == text


def test_the_tool_prints_a_line_for_each_stage(model_folder, tmp_path, capsys):
    options = ["--model", model_folder, "--run", str(tmp_path / "run"), "--measured-images", "0"]
    code, out, errors = run_tool("plan", [*options, "--proj-dim", "64"], capsys)
    assert (code, out) == (EXIT_DONE, f"{tmp_path / 'run'}\n")
    names = [line.partition(":")[0] for line in errors.splitlines()]
    stages = ["train features", "query features", "Gram matrix", "scores"]
    assert names == [model_folder, *stages, "in all"]
    code, _, errors = run_tool("plan", [*options, "--memory-limit", "10kB"], capsys)
    assert code == EXIT_REFUSED
    assert errors.splitlines()[-1].startswith("error: ")
