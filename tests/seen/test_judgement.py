"""What is said of residuals: how sure it is, and where nothing can be said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dtrak_stream.errors import FingerprintMismatchError, InputError
from dtrak_stream.seen.detection import area_under_curve
from dtrak_stream.seen.judgement import in_words, judge, judge_stores, residuals_in
from tests.conftest import store_of
from tests.seen.test_calibration import mixture


def residual_store(root, residuals, images="images"):
    rows = np.asarray(residuals, np.float32).reshape(len(residuals), -1)
    return store_of(root, rows, output_function="residuals", images=images, rows_per_shard=64)


def test_every_other_held_out_image_reports_and_the_others_fit():
    candidates, held_out, _ = mixture(0.5, count=500, held_out=300)
    found = judge(candidates, held_out)
    assert found.area == area_under_curve(candidates, held_out[1::2])
    assert found.held_out == 300
    spoilt = held_out.copy()
    spoilt[1::2] = held_out[1::2] + 0.1
    assert np.array_equal(judge(candidates, spoilt).probability, found.probability)


def test_the_means_are_of_candidates_and_of_held_out_images_that_report():
    candidates, held_out, seen = mixture(0.5, apart=3.0)
    found = judge(candidates, held_out)
    assert found.mean_of_candidates == pytest.approx(seen.mean(), abs=0.08)
    assert found.mean_of_held_out < 0.2
    assert found.probability[seen].mean() > 0.85
    assert found.probability[~seen].mean() < 0.2


def test_what_cannot_be_told_is_said_and_no_probability_given():
    candidates, held_out, _ = mixture(0.0)
    found = judge(candidates, held_out)
    assert not found.tells
    assert np.isnan(found.probability).all()
    (line,) = in_words(found.attributes())
    assert "cannot tell" in line


def test_words_tell_what_was_measured_with_its_error():
    candidates, held_out, _ = mixture(0.5)
    found = judge(candidates, held_out)
    text = " ".join(in_words(found.attributes()))
    area, positives = found.area, found.positives
    assert positives is not None
    assert f"{100 * area.value:.0f} +- {100 * area.error:.0f} % of pairs" in text
    assert f"{100 * positives.value:.0f} +- {100 * positives.error:.0f} % of the candidates" in text
    assert "1,000 held-out images" in text
    assert "drawn at random from what the candidates were drawn from" in text
    assert "no proof about one" in text
    few = judge(candidates, held_out[:100])
    assert "takes 200 held-out images" in " ".join(in_words(few.attributes()))
    assert in_words({}) == []


def test_too_few_held_out_images_are_refused():
    candidates, held_out, _ = mixture(0.5)
    assert judge(candidates, held_out[:80]).held_out == 80
    with pytest.raises(InputError, match="79 held-out images are too few"):
        judge(candidates, np.concatenate([held_out[:79], [np.nan]]))


def test_several_timesteps_count_alike(tmp_path):
    rows = np.array([[1.0, 4.0], [2.0, 8.0], [np.nan, np.nan], [0.0, 1.0]])
    found = residuals_in(residual_store(tmp_path / "s", rows))
    np.testing.assert_allclose(found[:2], [2, 4], rtol=1e-6)
    assert np.isnan(found[2])
    assert found[3] > 0


def test_stores_are_judged_as_their_residuals_are(tmp_path):
    candidates, held_out, _ = mixture(0.5, count=200, held_out=100)
    stores = (
        residual_store(tmp_path / "train", candidates),
        residual_store(tmp_path / "held-out", held_out, images="others"),
    )
    expected = judge(*(each.astype(np.float32).astype(float) for each in (candidates, held_out)))
    np.testing.assert_allclose(judge_stores(*stores).probability, expected.probability, atol=1e-6)


def test_stores_that_cannot_be_compared_are_refused(tmp_path):
    values = np.arange(1.0, 101.0)
    train = residual_store(tmp_path / "train", values)
    gradients = store_of(tmp_path / "gradients", np.ones((100, 1), np.float32), images="others")
    with pytest.raises(InputError, match=r"--held-out .*holds features of square"):
        judge_stores(train, gradients)
    with pytest.raises(InputError, match="holds the candidates themselves"):
        judge_stores(train, residual_store(tmp_path / "same", values))
    other = residual_store(tmp_path / "other", values, images="others")
    other.fingerprint = replace(other.fingerprint, weights="of another model")
    with pytest.raises(FingerprintMismatchError, match="weights"):
        judge_stores(train, other)
