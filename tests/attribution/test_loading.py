"""What the main job reads before it computes, it reads once: models, images, finished work."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import pytest

import dtrak_stream
from dtrak_stream.attribution.plan import make_plan
from dtrak_stream.data import folder as folder_module
from dtrak_stream.data.images import open_images
from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.features import gradient_features
from dtrak_stream.featurizing import opening
from dtrak_stream.featurizing.shard_run import ShardRun
from tests.attribution.jobs import QUERIES, TRAIN, job
from tests.small_jobs import fingerprint_of, random_pixels, save_images


@pytest.fixture
def counted(monkeypatch):
    """How often models are loaded, sources are opened to be featurized, image files are hashed."""
    counts: dict[str, int] = {}

    def count(name: str, honest: Any, *arguments: Any, **options: Any) -> Any:
        counts[name] = counts.get(name, 0) + 1
        return honest(*arguments, **options)

    for module, name in (
        (gradient_features, "load_denoiser"),
        (opening, "open_images"),
        (folder_module, "file_hash"),
    ):
        monkeypatch.setattr(module, name, partial(count, name, getattr(module, name)))
    return counts


def test_one_model_is_loaded_once_and_each_source_opened_and_hashed_once(
    model_folder, sources, tmp_path, counted
):
    dtrak_stream.attribute(job(model_folder, sources, tmp_path / "run"))
    images = TRAIN + QUERIES
    assert counted == {"load_denoiser": 1, "open_images": 2, "file_hash": images}


def test_one_of_several_models_is_in_memory_at_a_time_and_loaded_twice(
    model_folder, other_model_folder, sources, tmp_path, counted
):
    config = job(model_folder, sources, tmp_path / "run", scores={"method": "trak"})
    dtrak_stream.attribute(dataclasses.replace(config, model=(model_folder, other_model_folder)))
    assert counted["load_denoiser"] == 4
    assert counted["file_hash"] == TRAIN + QUERIES


def test_a_finished_run_loads_and_opens_nothing(again, counted):
    dtrak_stream.attribute(again)  # a copy is looked at once
    counted.clear()
    dtrak_stream.attribute(again)
    assert counted == {}


def test_queries_that_change_while_training_images_are_featurized_are_opened_again(
    model_folder, tmp_path, monkeypatch
):
    train, query = (save_images(tmp_path / name, random_pixels(3)) for name in ("train", "query"))
    honest = ShardRun.run

    def run_and_repaint(run, missing):
        save_images(query, random_pixels(1, seed=5))
        return honest(run, missing)

    monkeypatch.setattr(ShardRun, "run", run_and_repaint)
    config = job(model_folder, (train, query), tmp_path / "run")
    dtrak_stream.attribute(config)
    # painted alike once more before the queries' turn
    identity = open_images(str(query), visible=False).identity()
    assert fingerprint_of(config.run / "query").images == identity


def test_a_store_that_another_run_began_meanwhile_is_not_written_into(
    model_folder, sources, tmp_path, monkeypatch
):
    config = job(model_folder, sources, tmp_path / "run")
    other = dataclasses.replace(config.features, seed=1)
    other_job = dataclasses.replace(config, features=other)
    honest = ShardRun.run

    def run_after_another(run, missing):
        monkeypatch.setattr(ShardRun, "run", honest)
        (model,) = make_plan(other_job).models
        dtrak_stream.featurize(model.query)
        return honest(run, missing)

    monkeypatch.setattr(ShardRun, "run", run_after_another)
    with pytest.raises(FingerprintMismatchError, match="seed"):
        dtrak_stream.attribute(config)
