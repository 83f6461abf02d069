"""A run with held-out images: which training images the model saw, end to end."""

from __future__ import annotations

import csv
import dataclasses
import shutil

import numpy as np
import pytest

import dtrak_stream
from dtrak_stream.attribution.neighbour_pixels import pixel_job
from dtrak_stream.attribution.plan import make_plan
from dtrak_stream.data.options import ImageOptions, ImageShape
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.exchange.exporting import export
from dtrak_stream.exchange.options import ExportConfig
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.scoring.relative_residuals import read_relative
from dtrak_stream.seen.judgement import residuals_in
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.verification.options import VerifyConfig
from dtrak_stream.verification.run import verify
from tests.attribution.jobs import job
from tests.report.conftest import read_page
from tests.scoring.conftest import attributes, read
from tests.small_jobs import random_pixels, save_images


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Training images that any model is less wrong about than about the held-out ones."""
    root = tmp_path_factory.mktemp("sources")
    pixels = random_pixels(60)
    train = save_images(root / "train", pixels)
    return train, save_images(root / "query", pixels[:2]), root


@pytest.fixture(scope="module")
def held_out(sources):
    return save_images(sources[2] / "held-out", random_pixels(80, seed=5) // 8 + 100)


@pytest.fixture
def config(model_folder, sources, held_out, tmp_path):
    plain = job(model_folder, sources[:2], tmp_path / "run")
    return dataclasses.replace(plain, held_out=str(held_out))


@pytest.fixture(scope="module")
def finished(model_folder, sources, held_out, tmp_path_factory):
    """The configuration of a run that is done, which tests may only read."""
    plain = job(model_folder, sources[:2], tmp_path_factory.mktemp("finished") / "run")
    config = dataclasses.replace(plain, held_out=str(held_out))
    dtrak_stream.attribute(config)
    return config


def with_mode(config, mode):
    options = dataclasses.replace(config.score_options, seen=mode)
    return dataclasses.replace(config, score_options=options)


def test_scores_page_and_table_tell_what_the_model_saw(finished, tmp_path):
    scores = finished.run / "scores.h5"
    seen = read(scores)["seen"]
    assert seen.shape == (60,)
    assert attributes(scores)["held_out_images"] == 80
    store = FeatureStore.open(finished.run / "residuals" / "held-out")
    assert (len(store), store.fingerprint.output_function) == (80, "residuals")
    page = read_page(finished.run / "report" / "index.html")
    assert "Did the model see these training images?" in page.words
    table = tmp_path / "rankings.csv"
    export(ExportConfig(scores=scores, out=table))
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    ids = [name.decode() for name in read(scores)["train_id"]]
    for row in rows:
        at = seen[ids.index(row["train_id"])]
        assert row["seen"] == ("" if np.isnan(at) else f"{at:.4g}")
    assert np.isfinite(seen).all()
    assert "seen: " in page.words


def test_a_finished_run_computes_nothing_and_another_mode_only_scores(finished, tmp_path, capsys):
    shutil.copytree(finished.run, tmp_path / "run")
    config = dataclasses.replace(finished, run=tmp_path / "run")
    plain = read(config.run / "scores.h5")
    capsys.readouterr()
    dtrak_stream.attribute(config)
    assert "featurized" not in capsys.readouterr().err
    dtrak_stream.attribute(with_mode(config, "weight"))
    assert "images featurized" not in capsys.readouterr().err
    weighed = read(config.run / "scores.h5")
    np.testing.assert_array_equal(weighed["scores"], plain["scores"] * plain["seen"])


def test_residuals_may_be_relative_to_neighbours_in_pixels(finished, tmp_path, capsys):
    shutil.copytree(finished.run, tmp_path / "run")
    config = dataclasses.replace(finished, run=tmp_path / "run", neighbours=5)
    plain = read(config.run / "scores.h5")["seen"]
    dtrak_stream.attribute(config)
    folder = config.run / "residuals"
    stores = [FeatureStore.open(folder / name) for name in ("train-pixels", "held-out-pixels")]
    assert [len(store) for store in stores] == [60, 80]
    assert {store.fingerprint.output_function for store in stores} == {"pixels"}
    logs = np.log(
        np.concatenate([residuals_in(FeatureStore.open(folder / n)) for n in ("train", "held-out")])
    )
    places = np.concatenate([store.rows(range(len(store))) for store in stores]).astype(np.float64)
    distances = np.square(places[:, None] - places).sum(axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, :5]
    expected = np.exp(logs - logs[nearest].mean(axis=1))
    found = read_relative(folder / "train.relative.h5")[1]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    told = attributes(config.run / "scores.h5")
    assert told["neighbours"] == 5
    assert not np.array_equal(read(config.run / "scores.h5")["seen"], plain)
    verify(VerifyConfig(config.run, deep=2))
    capsys.readouterr()
    dtrak_stream.attribute(config)
    assert "featurized" not in capsys.readouterr().err
    dtrak_stream.attribute(dataclasses.replace(config, neighbours=0))
    np.testing.assert_array_equal(read(config.run / "scores.h5")["seen"], plain)


def test_neighbours_that_cannot_be_are_refused_before_work(config):
    for wrong, message in (
        (dataclasses.replace(config, neighbours=60), "--neighbours 60"),
        (dataclasses.replace(config, neighbours=5, held_out=None), "--neighbours 5"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            dtrak_stream.attribute(wrong)
    with pytest.raises(ConfigurationError, match="--neighbours -1"):
        dataclasses.replace(config, neighbours=-1)
    assert not list(config.run.rglob("shards/*.h5"))


@pytest.mark.parametrize(
    ("shape", "projector", "numbers"),
    [((1, 8, 8), "identity", None), ((2, 16, 16), "identity", None), ((3, 32, 32), "sketch", 512)],
)
def test_pixels_of_large_images_are_sketched(config, shape, projector, numbers):
    options = FeatureOptions(seed=3, rows_per_shard=8, device="cpu", timesteps="7")
    plan = make_plan(dataclasses.replace(config, features=options)).residuals
    assert plan is not None
    job = pixel_job(plan.held_out, ImageShape(*shape))
    assert (job.features.projector, job.features.proj_dim) == (projector, numbers)
    assert (job.features.seed, job.features.rows_per_shard, job.images) == (3, 8, config.held_out)
    assert job.features.timesteps == FeatureOptions().timesteps


def test_held_out_images_that_cannot_tell_are_refused_before_gradients(config, sources):
    alike = save_images(sources[2] / "alike", random_pixels(80, seed=9))
    config = dataclasses.replace(with_mode(config, "filter"), held_out=str(alike))
    with pytest.raises(InputError, match="leave --seen off"):
        dtrak_stream.attribute(config)
    assert not list((config.run / "train").glob("shards/*.h5"))


def test_what_makes_no_sense_is_refused_before_work(config):
    several = (str(config.model), str(config.model))
    for wrong, message in (
        (dataclasses.replace(with_mode(config, "weight"), held_out=None), "--seen weight"),
        (dataclasses.replace(config, model=several), "--held-out"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            dtrak_stream.attribute(wrong)
    with pytest.raises(InputError, match="the candidates themselves"):
        dtrak_stream.attribute(dataclasses.replace(config, held_out=config.train))
    assert not (config.run / "residuals" / "train" / "store.json").exists()


def test_residuals_are_of_the_model_whatever_the_features_are(config):
    options = ImageOptions(image_fit="stretch")
    features = FeatureOptions(seed=3, rows_per_shard=8, device="cpu")
    other = dataclasses.replace(config, image_options=options, features=features)
    plan = make_plan(other).residuals
    assert plan is not None
    for each in (plan.candidates, plan.held_out):
        assert each.features == dataclasses.replace(features, output_function="residuals")
        assert each.image_options.image_fit == "stretch"
