"""The main job by methods without a kernel, by several models, and for a list of dampings."""

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
from dtrak_stream.cli.command_line import EXIT_DONE, EXIT_REFUSED
from dtrak_stream.errors import ConfigurationError
from tests.small_jobs import (
    ALIKE,
    flags,
    random_pixels,
    run_tool,
    save_images,
    small_features,
    written_at,
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> tuple[Path, Path]:
    root, train = tmp_path_factory.mktemp("sources"), random_pixels(7)
    return save_images(root / "train", train), save_images(root / "query", train[[5, 2]])


def job(models, sources: tuple[Path, Path], run: Path, **scores: Any) -> AttributeConfig:
    features = small_features(projector=scores.pop("projector", "sketch"))
    return AttributeConfig(
        model=models,
        train=str(sources[0]),
        query=str(sources[1]),
        run=run,
        features=features,
        execution=ALIKE,
        score_options=ScoreOptions(**{"damping": "0.1", "top_k": 3, **scores}),
        quiet=True,
    )


def scores_in(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        scores: np.ndarray = file["scores"][()]
    return scores


@pytest.fixture(scope="module")
def ensemble(model_folder, other_model_folder, sources, tmp_path_factory):
    """A finished run of two models."""
    folder = tmp_path_factory.mktemp("ensemble") / "run"
    config = job((model_folder, other_model_folder), sources, folder, method="trak")
    return config, dtrak_stream.attribute(config)


def test_several_models_have_a_folder_each_and_one_scores_file(ensemble):
    config, result = ensemble
    for number in ("0", "1"):
        names = {path.name for path in (config.run / "models" / number).iterdir()}
        assert {"train", "query", "gram.h5"} <= names
    assert result.scores == config.run / "scores.h5"
    assert result.path.is_file()
    assert not (config.run / "train").exists()


def test_scores_of_several_models_are_the_mean_of_single_runs(ensemble, sources, tmp_path):
    config, result = ensemble
    singles = [
        dtrak_stream.attribute(job(model, sources, tmp_path / str(number), method="trak"))
        for number, model in enumerate(config.model)
    ]
    mean = np.mean([scores_in(single.scores) for single in singles], axis=0)
    found = scores_in(result.scores)
    assert np.allclose(found, mean, rtol=1e-5, atol=1e-6 * np.abs(mean).max())
    assert found.argmax(axis=1).tolist() == [5, 2]


def test_a_finished_run_of_several_models_is_not_computed_again(ensemble, capsys):
    config, _ = ensemble
    before = written_at(config.run / "models")
    words = flags(dataclasses.replace(config, model="MODELS"))
    place = words.index("MODELS")
    words[place : place + 1] = config.model
    assert run_tool("attribute", words, capsys)[0] == EXIT_DONE
    assert written_at(config.run / "models") == before
    record = ["--config", str(config.run / "config.yaml")]
    assert run_tool("attribute", record, capsys)[0] == EXIT_DONE
    assert written_at(config.run / "models") == before


def test_the_scores_of_several_models_by_the_score_command(ensemble, tmp_path, capsys):
    config, result = ensemble
    folders = [model.train.store.parent for model in make_plan(config).models]
    words = [
        word
        for name, file in (("train", "train"), ("query", "query"), ("gram", "gram.h5"))
        for word in (f"--{name}", *(str(folder / file) for folder in folders))
    ]
    out = tmp_path / "scores.h5"
    words += ["--out", str(out), "--method", "trak", "--damping", "0.1"]
    assert run_tool("score", words, capsys)[0] == EXIT_DONE
    assert np.array_equal(scores_in(out), scores_in(result.scores))


def test_one_model_in_a_list_is_a_single_model(model_folder, sources, tmp_path):
    config = job((model_folder,), sources, tmp_path / "run")
    (only,) = make_plan(config).models
    assert (only.train.model, only.train.store) == (model_folder, tmp_path / "run" / "train")


@pytest.mark.parametrize("method", ["gradient-cosine", "gas"])
def test_a_method_without_a_kernel_computes_no_gram(model_folder, sources, tmp_path, method):
    config = job(model_folder, sources, tmp_path / "run", method=method)
    result = dtrak_stream.attribute(config)
    assert not (config.run / "gram.h5").exists()
    scores = scores_in(result.scores)
    assert scores.argmax(axis=1).tolist() == [5, 2]
    assert np.allclose(scores.max(axis=1), 1, atol=1e-3)
    assert "inverts no Gram matrix" in result.path.read_text()


def test_a_list_of_dampings_with_error_bars_has_a_report_of_the_first(
    model_folder, sources, tmp_path, capsys
):
    config = job(model_folder, sources, tmp_path / "run", damping="0.1,1", error_bars=True)
    result = dtrak_stream.attribute(config)
    assert "the first of the dampings" in capsys.readouterr().err
    with h5py.File(result.scores) as file:
        assert (file["damping_001/score_error"][()] > 0).any()
        relative = file["damping_000"].attrs["damping_relative"]
    assert relative == pytest.approx(0.1)
    assert result.path.is_file()


@pytest.mark.parametrize("transform", ["square", "abs"])
def test_a_report_of_scores_without_a_sign_says_so(model_folder, sources, tmp_path, transform):
    config = job(model_folder, sources, tmp_path / "run", transform=transform)
    page = dtrak_stream.attribute(config).path.read_text()
    assert {"square": "largest squared scores", "abs": "largest absolute scores"}[transform] in page


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"method": "empirical-influence"}, "needs models retrained on random subsets"),
        ({"damping": "0.1,many"}, "--damping many: not a damping"),
        ({"transform": "abs", "method": "das"}, "das"),
        ({"method": "gas", "checkpoint_weights": "1,2"}, "not a weight for each of 1"),
        ({"error_bars": True, "projector": "identity"}, "--error-bars"),
    ],
)
def test_what_scoring_would_refuse_is_refused_before_featurizing(
    model_folder, sources, tmp_path, options, told
):
    with pytest.raises(ConfigurationError, match=told):
        dtrak_stream.attribute(job(model_folder, sources, tmp_path / "run", **options))
    assert not (tmp_path / "run").exists()


def test_a_gram_of_a_method_with_a_kernel_is_asked_for(ensemble, tmp_path, capsys):
    config, _ = ensemble
    folder = config.run / "models" / "0"
    words = ["--train", str(folder / "train"), "--query", str(folder / "query")]
    words += ["--out", str(tmp_path / "scores.h5"), "--method", "trak"]
    code, _, errors = run_tool("score", words, capsys)
    assert code == EXIT_REFUSED
    assert "dtrak-stream gram" in errors


def test_best_is_the_signed_square_of_avg_at_timesteps_of_its_own(model_folder, sources, tmp_path):
    config = job(model_folder, sources, tmp_path / "best", method="best")
    config = dataclasses.replace(config, features=small_features(timesteps=None))
    best = scores_in(dtrak_stream.attribute(config).scores)
    plain = job(model_folder, sources, tmp_path / "avg", method="d-trak")
    features = small_features(output_function="avg", timesteps="share:0.06,0.2")
    plain = dataclasses.replace(plain, features=features)
    tau = scores_in(dtrak_stream.attribute(plain).scores)
    np.testing.assert_allclose(best, tau * np.abs(tau), rtol=1e-6)
