"""The main job by methods that need other features than gradients at noised images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

import dtrak_stream
from dtrak_stream import AttributeConfig, ExecutionOptions, FeatureStore, ScoreOptions
from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.query_options import QueryImageOptions
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.generation.configuration import GenerationConfig
from dtrak_stream.generation.run import generate
from dtrak_stream.scoring.options import ScoreConfig
from tests.attribution.test_methods import scores_in
from tests.conftest import build_unet, save_model
from tests.features.conftest import save_clip
from tests.small_jobs import ALIKE, fingerprint_of, random_pixels, save_images, small_features


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> tuple[Path, Path]:
    root, train = tmp_path_factory.mktemp("sources"), random_pixels(7)
    return save_images(root / "train", train), save_images(root / "query", train[[5, 2]])


def job(model, sources, run, method, features=None, **scores) -> AttributeConfig:
    return AttributeConfig(
        model=model,
        train=str(sources[0]),
        query=str(sources[1]),
        run=run,
        features=small_features(**(features or {})),
        # image features are made by no gradient engine
        execution=ExecutionOptions() if method.startswith(("pixel", "clip")) else ALIKE,
        score_options=ScoreOptions(method=method, damping="0.1", top_k=3, **scores),
        quiet=True,
    )


@pytest.mark.parametrize("method", ["pixel-dot", "pixel-cosine"])
def test_pixels_are_scored_and_shown(sources, tmp_path, capsys, method):
    """No model is needed: the folder named here does not exist."""
    unused = {"noise_draws": 2, "clip": "none"}
    result = dtrak_stream.attribute(job("no-such-model", sources, tmp_path / "run", method, unused))
    assert [line for line in capsys.readouterr().err.splitlines() if ": not used" in line] == [
        "--timesteps, --noise-draws: not used, pixels features are no gradients",
        "--clip: not used, CLIP is not what features are computed with",
        f"--damping: not used, {method} has no kernel",
    ]
    images = [open_images(str(source), visible=False) for source in reversed(sources)]
    query, train = ([one.image(row).numpy().ravel() for row in range(len(one))] for one in images)
    expected = np.array(query) @ np.array(train).T  # (Q, D) @ (D, N) -> (Q, N)
    if method == "pixel-cosine":
        expected /= np.linalg.norm(query, axis=1)[:, None] * np.linalg.norm(train, axis=1)
    assert np.allclose(scores_in(result.scores), expected, atol=2e-3 * abs(expected).max())
    assert result.path.is_file()


def test_queries_take_size_and_channels_of_the_training_images(tmp_path):
    generator = np.random.default_rng(0)
    for name, shape in (("train", (10, 14)), ("query", (20, 20, 3))):
        pixels = generator.integers(0, 256, (3, *shape), dtype=np.uint8)
        save_images(tmp_path / name, pixels)
    images = ImageOptions(image_fit="crop", channels="convert")
    folders = tmp_path / "train", tmp_path / "query"
    config = job("no-such-model", folders, tmp_path / "run", "pixel-cosine")
    result = dtrak_stream.attribute(dataclasses.replace(config, image_options=images))
    assert scores_in(result.scores).shape == (3, 3)
    for side in ("train", "query"):
        assert fingerprint_of(tmp_path / "run" / side).image_shape == "1x10x14"


def test_scores_of_images_with_four_channels_come_without_a_report(tmp_path, capsys):
    model = save_model(tmp_path / "model", build_unet(channels=4))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 4), dtype=np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    sources = tmp_path / "a.npy", tmp_path / "a.npy[:2]"
    result = dtrak_stream.attribute(job(model, sources, tmp_path / "run", "d-trak"))
    assert scores_in(result.scores).shape == (2, 4)
    assert result.path == result.scores
    assert not (tmp_path / "run" / "report").exists()
    assert "no report: images of 4x8x8 are neither" in capsys.readouterr().err


def test_queries_can_be_read_otherwise_than_training_images(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    np.save(tmp_path / "bytes.npy", pixels)
    np.save(tmp_path / "unit.npy", (pixels[2:] / 255).astype("float32"))
    sources = tmp_path / "bytes.npy", tmp_path / "unit.npy"
    config = job("no-such-model", sources, tmp_path / "run", "pixel-cosine")
    with pytest.raises(InputError, match="--float-range unit"):
        dtrak_stream.attribute(config)
    unit = QueryImageOptions(query_float_range="unit")
    result = dtrak_stream.attribute(dataclasses.replace(config, query_image_options=unit))
    assert np.allclose(scores_in(result.scores)[[0, 1], [2, 3]], 1, atol=1e-3)
    assert result.path.name == "index.html"


def test_clip_features_are_scored_and_shown(sources, tmp_path):
    features = {"clip": save_clip(tmp_path / "clip")}
    result = dtrak_stream.attribute(
        job("no-such-model", sources, tmp_path / "run", "clip-cosine", features)
    )
    scores = scores_in(result.scores)
    assert scores.argmax(axis=1).tolist() == [5, 2]
    assert np.allclose(scores.max(axis=1), 1, atol=1e-3)


def test_das_makes_its_own_kind_of_features(model_folder, sources, tmp_path):
    result = dtrak_stream.attribute(job(model_folder, sources, tmp_path / "run", "das"))
    store = FeatureStore.open(tmp_path / "run" / "train")
    assert store.fingerprint.timestep_weights == "unit-gradient"
    assert store.fingerprint.output_function == "avg"
    scores = scores_in(result.scores)
    assert scores.argmax(axis=1).tolist() == [5, 2]
    assert (scores >= 0).all()


@pytest.mark.parametrize("transform", ["none", "mean-square"])
def test_scores_of_probes_are_averaged(model_folder, sources, tmp_path, transform):
    features = {"output_function": "probe(2)"}
    result = dtrak_stream.attribute(
        job(model_folder, sources, tmp_path / "run", "d-trak", features, transform=transform)
    )
    singles = []
    for number in (0, 1):
        alone = {"output_function": f"probe({number}/2)"}
        config = job(model_folder, sources, tmp_path / str(number), "d-trak", alone)
        singles.append(scores_in(dtrak_stream.attribute(config).scores))
    expected = np.mean(np.square(singles) if transform == "mean-square" else singles, axis=0)
    assert np.allclose(scores_in(result.scores), expected, atol=1e-5 * abs(expected).max())
    with h5py.File(result.scores) as file:
        assert file.attrs["output_function"] == "probe(0/2) and probe(1/2)"
    assert {"gram-000.h5", "gram-001.h5"} <= {path.name for path in result.scores.parent.iterdir()}


def test_kernels_of_a_timestep_each_are_averaged_as_models_are(model_folder, sources, tmp_path):
    runs, singles = [tmp_path / step for step in ("0", "500")], []
    for run in runs:
        config = job(model_folder, sources, run, "d-trak", {"timesteps": f"list:{run.name}"})
        singles.append(scores_in(dtrak_stream.attribute(config).scores))
    train, query, gram = (
        tuple(run / name for run in runs) for name in ("train", "query", "gram.h5")
    )
    options = ScoreOptions(damping="0.1")
    together = ScoreConfig(train, query, gram, tmp_path / "scores.h5", options, quiet=True)
    scores = scores_in(dtrak_stream.score(together).path)
    assert np.allclose(scores, np.mean(singles, axis=0), atol=1e-5 * abs(scores).max())
    with h5py.File(together.out) as file:
        assert file.attrs["timesteps"] == "0 and 500"
        assert file.attrs["output_function"] == "square"


@pytest.fixture(scope="module")
def generated(model_folder, tmp_path_factory) -> Path:
    out: Path = tmp_path_factory.mktemp("generated")
    config = GenerationConfig(model=model_folder, out=out, count=2, steps=4, device="cpu")
    generate(dataclasses.replace(config, save_trajectory=True), visible=False)
    return out


@pytest.mark.parametrize(
    ("method", "function", "timesteps"),
    [
        ("journey-trak", "trajectory(one-step)", "list:500"),
        ("journey-trak-averaged", "trajectory(averaged)", "list:0,500"),
    ],
)
def test_journeys_are_scored_along_the_sampling_path(
    model_folder, sources, generated, tmp_path, method, function, timesteps
):
    config = job(
        model_folder, (sources[0], generated), tmp_path / "run", method, {"timesteps": timesteps}
    )
    with pytest.raises(ConfigurationError, match="--save-trajectory"):
        dtrak_stream.attribute(config)
    assert not (tmp_path / "run").exists()
    result = dtrak_stream.attribute(dataclasses.replace(config, trajectory=generated))
    stores = [FeatureStore.open(tmp_path / "run" / name) for name in ("train", "query")]
    assert [store.fingerprint.output_function for store in stores] == ["simple", function]
    train, query = (store.rows(range(len(store))).astype(np.float64) for store in stores)
    gram = train @ train.T  # (N, k) @ (k, N) -> (N, N)
    damped = gram + 0.1 * np.trace(gram) / len(gram) * np.eye(len(gram))
    expected = np.linalg.solve(damped, train @ query.T).T  # (N, N), (N, Q) -> (Q, N)
    assert np.allclose(scores_in(result.scores), expected, atol=1e-4 * abs(expected).max())


def test_a_timestep_off_the_path_is_refused_before_the_training_images(
    model_folder, sources, generated, tmp_path
):
    config = job(model_folder, (sources[0], generated), tmp_path / "run", "journey-trak")
    with pytest.raises(ConfigurationError, match=r"takes one timestep.*list:"):
        dtrak_stream.attribute(dataclasses.replace(config, trajectory=generated))
    assert not (tmp_path / "run" / "train").exists()
