"""Scores by the methods that need retrained models, through the same command as all others."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from dtrak_stream.cli.command_line import EXIT_DONE, EXIT_REFUSED
from dtrak_stream.evaluation.subset_scores.configuration import SubsetScoreConfig
from dtrak_stream.evaluation.subset_scores.run import score_from_subsets
from tests.evaluation.synthetic import half_masks, linear_losses, truth_of
from tests.small_jobs import run_tool

SCORES = np.random.default_rng(0).normal(size=(4, 25))


@pytest.fixture
def truth(tmp_path):
    mask = half_masks(30, 25)
    return truth_of(tmp_path / "truth.npz", mask, linear_losses(mask, SCORES, noise=0.3))


def all_scores(path):
    with h5py.File(path) as file:
        return np.asarray(file["scores"])


@pytest.mark.parametrize("method", ["datamodel", "empirical-influence"])
def test_the_score_command_fits_to_a_truth_file(truth, tmp_path, capsys, method):
    out = tmp_path / "scores.h5"
    words = ["--method", method, "--truth", str(truth), "--out", str(out), "--subsets", "0:25"]
    code, printed, _ = run_tool("score", [*words, "--top-k", "7"], capsys)
    assert (code, printed.strip()) == (EXIT_DONE, str(out))
    config = SubsetScoreConfig(truth, tmp_path / "other.h5", method, subsets="0:25", quiet=True)
    assert np.array_equal(all_scores(out), all_scores(score_from_subsets(config).path))
    with h5py.File(out) as file:
        assert file["top_index"].shape == (4, 7)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--method", "datamodel"], "dtrak-stream retrain-subsets"),
        (["--method", "gradient-dot"], "give the stores that dtrak-stream featurize wrote"),
    ],
)
def test_what_is_missing_is_named(tmp_path, capsys, words, told):
    code, _, errors = run_tool("score", [*words, "--out", str(tmp_path / "s.h5")], capsys)
    assert code == EXIT_REFUSED
    assert told in errors


OF_TRUTH = "not used, only empirical-influence and datamodel are computed from retrained models"


@pytest.mark.parametrize(
    ("method", "words", "told"),
    [
        ("trak", "", f"--truth: {OF_TRUTH}"),
        ("gradient-dot", "--subsets 0:25", f"--truth, --subsets: {OF_TRUTH}"),
        ("pixel-dot", "--loss-key loss_val", f"--truth, --loss-key: {OF_TRUTH}"),
        ("datamodel", "--transform square", "--transform: not used, datamodel is computed from"),
        ("datamodel", "--damping 0.1 --error-bars", "--damping, --error-bars: not used"),
        ("datamodel", "--train a --query b --gram c", "--train, --query, --gram: not used"),
        ("empirical-influence", "--groups g.csv", "--groups: not used, empirical-influence is"),
        ("empirical-influence", "--save-scores no", "--save-scores: not used"),
    ],
)
def test_what_a_method_does_not_use_is_refused_before_any_work(
    truth, tmp_path, capsys, method, words, told
):
    given = ["--method", method, "--truth", str(truth), *words.split()]
    code, _, errors = run_tool("score", [*given, "--out", str(tmp_path / "s.h5")], capsys)
    assert code == EXIT_REFUSED
    assert told in errors
    assert [path.name for path in tmp_path.iterdir()] == ["truth.npz"]
