"""The scores of the main job: the formula, and the right sign."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import dtrak_stream
from dtrak_stream import GramConfig, GramOptions, ScoreConfig, ScoreOptions
from dtrak_stream.gram.file import Gram
from tests.attribution.jobs import (
    TRAIN,
    attributes,
    datasets,
    job,
)
from tests.small_jobs import (
    small_job,
)


def reference_scores(run: Path, damping: float) -> np.ndarray:
    """phi_q^T (Phi^T Phi + lambda I)^-1 phi_n in float64 from the stores: (Q, N)."""

    def features(store):
        arrays = datasets(run / store / "features.h5")
        return arrays["features"].astype(np.float64) * arrays["scale"][:, None]

    phi, queries = features("train"), features("query")
    kernel = phi.T @ phi + damping * np.eye(phi.shape[1])
    scores: np.ndarray = queries @ np.linalg.solve(kernel, phi.T)
    return scores


@pytest.fixture(scope="module", params=["float16", "float32"])
def stores(request, model_folder, sources, tmp_path_factory) -> Path:
    root: Path = tmp_path_factory.mktemp("stores")
    for name, source in zip(("train", "query"), sources):
        options = {"dtype": request.param, "rows_per_shard": 5}
        dtrak_stream.featurize(small_job(model_folder, source, root / name, **options))
    return root


@pytest.mark.parametrize("damping", ["auto", "0.01", "abs:0.002"])
def test_scores_equal_the_formula_in_both_forms(stores, tmp_path, damping):
    found = {}
    for form in ("primal", "dual"):
        gram, out = tmp_path / f"{form}.h5", tmp_path / f"{form}-scores.h5"
        dtrak_stream.compute_gram(GramConfig(stores / "train", gram, GramOptions(gram_form=form)))
        options = ScoreOptions(damping=damping)
        dtrak_stream.score(ScoreConfig(stores / "train", stores / "query", gram, out, options))
        assert attributes(out)["gram_form"] == form
        expected = reference_scores(stores, attributes(out)["damping_absolute"])
        found[form] = datasets(out)["scores"]
        assert np.abs(found[form] - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.abs(found["primal"] - found["dual"]).max() < 1e-4 * np.abs(found["dual"]).max()


def test_damping_is_a_multiple_of_the_mean_eigenvalue(finished):
    gram = Gram.open(finished.config.run / "gram.h5").matrix()
    told = attributes(finished.config.run / "scores.h5")
    assert np.isclose(told["damping_absolute"], 0.1 * np.trace(gram) / TRAIN, rtol=1e-6)
    assert np.isclose(told["damping_relative"], 0.1)


@pytest.mark.parametrize("method", ["trak", "d-trak"])
def test_a_training_image_is_its_own_strongest_proponent(model_folder, sources, tmp_path, method):
    options = {"method": method, "damping": "0.001"}
    config = job(model_folder, sources, tmp_path / "run", scores=options)
    dtrak_stream.attribute(config)
    scores = datasets(config.run / "scores.h5")
    for query, itself in enumerate((7, 2)):
        assert scores["scores"][query].argmax() == itself
        assert scores["top_index"][query, 0] == itself
        assert scores["top_score"][query, 0] > 0.5
        assert scores["bottom_score"][query, 0] < scores["top_score"][query, 0] / 2


def test_the_lists_hold_the_highest_and_the_lowest_scores(finished):
    arrays = datasets(finished.config.run / "scores.h5")
    order = np.argsort(arrays["scores"], axis=1)
    assert np.array_equal(arrays["top_index"], order[:, ::-1][:, :5])
    assert np.array_equal(arrays["bottom_index"], order[:, :5])
    for end in ("top", "bottom"):
        listed = np.take_along_axis(arrays["scores"], arrays[f"{end}_index"], axis=1)
        assert np.array_equal(arrays[f"{end}_score"], listed)


def test_squared_scores_are_the_squares_of_the_scores(again):
    scores = datasets(again.run / "scores.h5")["scores"]
    options = dataclasses.replace(again.score_options, transform="square")
    dtrak_stream.attribute(dataclasses.replace(again, score_options=options))
    squared = datasets(again.run / "scores.h5")["scores"]
    assert np.allclose(squared, scores**2, rtol=1e-6)
