"""Scores that know which training images the model saw, beside those that do not."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError, InputError
from dtrak_stream.scoring.run import score
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.seen.judgement import judge, residuals_in
from dtrak_stream.store.reader import FeatureStore
from tests.scoring.conftest import attributes, attribution_of, read, whole_numbers
from tests.seen.test_calibration import mixture
from tests.seen.test_judgement import residual_store

COUNT = 300


@pytest.fixture
def run(tmp_path):
    """Features of 300 training images, of which one half was seen, and the residuals of both."""
    run = attribution_of(tmp_path, whole_numbers(COUNT, 8), whole_numbers(5, 8, 1))
    candidates, held_out, _ = mixture(0.5, count=COUNT, held_out=100)
    candidates[7] = np.nan
    residual_store(tmp_path / "residuals", candidates, images="train")
    residual_store(tmp_path / "held-out", held_out, images="others")
    return run


def config(run, name="scores.h5", *, held_out="held-out", residuals="residuals", **options):
    plain = run.config(run.folder / name, top_k=20, **options)
    folders = {"residuals": residuals, "held_out": held_out}
    return replace(plain, **{key: run.folder / each for key, each in folders.items() if each})


def expected_probability(run):
    stores = (FeatureStore.open(run.folder / name) for name in ("residuals", "held-out"))
    return judge(*map(residuals_in, stores))


def test_off_leaves_the_scores_and_puts_the_probability_beside_them(run, capsys):
    plain = read(run.score(run.folder / "plain.h5", top_k=20).path)
    found = read(score(config(run)).path)
    judged = expected_probability(run)
    np.testing.assert_array_equal(found.pop("seen"), judged.probability)
    assert all(np.array_equal(found[name], plain[name]) for name in plain)
    assert np.isnan(judged.probability[7])
    facts = attributes(run.out)
    assert facts["seen"] == "off"
    assert {name: facts[name] for name in judged.attributes()} == judged.attributes()
    assert "no proof about one" in capsys.readouterr().err
    with ScoresFile(run.out) as scores:
        np.testing.assert_array_equal(scores.seen, judged.probability)
    with ScoresFile(run.folder / "plain.h5") as scores:
        assert scores.seen is None


@pytest.mark.parametrize("mode", ["weight", "filter"])
@pytest.mark.parametrize("transform", ["none", "signed-square"])
def test_scores_are_multiplied_before_they_are_ranked(run, mode, transform):
    options = {"transform": transform, "damping": "1"}
    plain = read(run.score(run.folder / "plain.h5", top_k=20, **options).path)
    found = read(score(config(run, seen=mode, **options)).path)
    seen = expected_probability(run).probability
    factors = seen if mode == "weight" else (seen >= 0.5).astype(np.float32)
    factors = np.where(np.isnan(seen), np.float32(1), factors)
    assert 0 < (seen < 0.5).sum() < COUNT
    expected = plain["scores"] * factors
    np.testing.assert_array_equal(found["scores"], expected)
    order = np.argsort(-expected, axis=1, kind="stable")[:, :20]
    np.testing.assert_array_equal(found["top_index"], order)
    np.testing.assert_array_equal(found["top_score"], np.take_along_axis(expected, order, axis=1))


def test_error_bars_are_multiplied_alike(tmp_path):
    run = attribution_of(tmp_path, whole_numbers(COUNT, 64), whole_numbers(3, 64, 1))
    candidates, held_out, _ = mixture(0.5, count=COUNT, held_out=100)
    residual_store(tmp_path / "residuals", candidates, images="train")
    residual_store(tmp_path / "held-out", held_out, images="others")
    plain = read(run.score(run.folder / "plain.h5", top_k=20, error_bars=True).path)
    found = read(score(config(run, seen="weight", error_bars=True)).path)
    expected = plain["score_error"] * found["seen"]
    np.testing.assert_allclose(found["score_error"], expected, rtol=1e-4, atol=1e-9)


def test_another_mode_or_other_held_out_images_score_again(run):
    assert score(config(run)).computed
    assert not score(config(run)).computed
    assert score(config(run, seen="filter")).computed
    residual_store(run.folder / "more", np.arange(1.0, 101.0), images="more")
    assert score(config(run, seen="filter", held_out="more")).computed


def test_a_file_without_residuals_is_still_the_one_that_is_asked_for(run):
    run.score(top_k=20)
    assert attributes(run.out)["seen"] == "off"
    assert not run.score(top_k=20).computed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"held_out": None}, "^--residuals: .*give --held-out"),
        ({"residuals": None}, "^--held-out: .*give --residuals"),
        ({"residuals": None, "held_out": None, "seen": "weight"}, "^--seen weight"),
    ],
)
def test_one_of_two_stores_is_refused(run, given, message):
    with pytest.raises(ConfigurationError, match=message):
        score(config(run, **given))
    assert not run.out.exists()


def test_residuals_that_cannot_tell_change_no_score(run, capsys):
    same = np.arange(1.0, COUNT + 1)
    residual_store(run.folder / "flat", same, images="train")
    residual_store(run.folder / "alike", same + 0.5, images="others")
    stores = {"residuals": "flat", "held_out": "alike"}
    with pytest.raises(InputError, match=r"--seen weight.*leave --seen off"):
        score(config(run, seen="weight", **stores))
    assert not run.out.exists()
    assert np.isnan(read(score(config(run, **stores)).path)["seen"]).all()
    assert "cannot tell" in capsys.readouterr().err


def test_residuals_of_other_images_or_another_model_are_refused(run):
    values = np.arange(1.0, COUNT + 1)
    residual_store(run.folder / "others", values, images="strangers")
    with pytest.raises(FingerprintMismatchError, match="images"):
        score(config(run, residuals="others"))
    residual_store(run.folder / "fewer", values[:-1], images="train")
    with pytest.raises(FingerprintMismatchError, match="samples"):
        score(config(run, residuals="fewer"))
    with pytest.raises(InputError, match="holds features of square"):
        score(config(run, residuals="train"))


def test_held_out_images_tell_the_automatic_damping_of_squares_what_to_aim_at(run, capsys):
    known, theirs = residuals_of_kind(run, 1.2)
    ratio = theirs.mean() / known.mean()
    share = 1.5 * (1 - ratio**-0.5)
    assert 0.05 < share < 0.25  # between the ends of the rule
    given = {"residuals": "known", "held_out": "theirs", "transform": "signed-square"}
    score(config(run, **given))
    facts = attributes(run.out)
    expected = 1 / (1 / (share * COUNT) + 1 / (3 * share * 8))
    assert facts["effective_dimension"] == pytest.approx(expected, rel=1e-5)
    assert facts["held_out_loss_ratio"] == pytest.approx(ratio)
    assert facts["freedom_by"] == "held-out images"
    assert f"aims at {share:.3g} N effective degrees" in capsys.readouterr().err


def residuals_of_kind(run, wrong):
    """Store residuals of a model that is `wrong` times as wrong about held-out images."""
    residuals = np.random.default_rng(0).integers(64, 128, COUNT).astype(np.float64)
    known, theirs = residuals, np.round(wrong * residuals[:200])
    residual_store(run.folder / "known", known, images="train")
    residual_store(run.folder / "theirs", theirs, images="others")
    return known, theirs


@pytest.mark.parametrize(
    "options",
    [{}, *({"transform": "square", "damping": damping} for damping in ("abs:3", "auto-oas"))],
)
def test_first_order_scores_and_other_dampings_do_not_heed_them(run, options, capsys):
    residuals_of_kind(run, 2.0)
    run.score(run.folder / "plain.h5", top_k=20, **options)
    score(config(run, "told.h5", residuals="known", held_out="theirs", **options))
    plain, told = (read(run.folder / name) for name in ("plain.h5", "told.h5"))
    assert all(np.array_equal(told[name], plain[name]) for name in plain)
    assert "freedom_by" not in attributes(run.folder / "told.h5")
    assert "aims at" not in capsys.readouterr().err


def test_squares_of_before_held_out_images_told_the_damping_are_scored_again(run):
    score(config(run, transform="signed-square"))
    with h5py.File(run.out, "r+") as file:
        del file.attrs["freedom_by"]
    assert score(config(run, transform="signed-square")).computed
