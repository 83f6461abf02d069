"""Probabilities against mixtures whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dtrak_stream.seen.calibration import calibrate, unseen_share


def mixture(seen_share, count=4000, held_out=1000, apart=2.0, seed=0):
    """Return residuals of candidates and held-out images, and which candidates were seen.

    Logarithms of residuals are normal, those of seen images `apart` standard deviations lower.
    """
    rng = np.random.default_rng(seed)
    seen = rng.random(count) < seen_share
    candidates = np.exp(rng.normal(size=count) - apart * seen)
    return candidates, np.exp(rng.normal(size=held_out)), seen


def true_probability(residuals, seen_share, apart=2.0):
    at = np.log(residuals)
    seen, unseen = stats.norm.pdf(at, -apart), stats.norm.pdf(at)
    return seen_share * seen / (seen_share * seen + (1 - seen_share) * unseen)


@pytest.mark.parametrize("seen_share", [0.2, 0.5, 0.8])
def test_the_probability_is_that_of_the_mixture(seen_share):
    candidates, held_out, _ = mixture(seen_share, count=20_000, held_out=10_000)
    found = calibrate(candidates, held_out).probability(candidates)
    expected = true_probability(candidates, seen_share)
    assert np.abs(found - expected).mean() < 0.04
    assert found.mean() < seen_share + 0.01  # rather too low


@pytest.mark.parametrize("seed", range(3))
def test_of_images_with_some_probability_about_so_many_were_seen(seed):
    candidates, held_out, seen = mixture(0.6, seed=seed)
    found = calibrate(candidates, held_out).probability(candidates)
    for low, high in ((0, 0.2), (0.2, 0.8), (0.8, 0.95), (0.95, 1.01)):
        those = (found >= low) & (found < high)
        assert abs(seen[those].mean() - found[those].mean()) < 0.15


def test_probabilities_fall_with_the_residual_from_nearly_1_on():
    candidates, held_out, _ = mixture(0.6)
    residuals = np.sort(np.concatenate([candidates, held_out, [1e-9, 1e9]]))
    found = calibrate(candidates, held_out).probability(residuals)
    assert (np.diff(found) <= 0).all()
    assert found.min() == 0
    assert 0.99 < found.max() < 1


def test_only_the_order_of_residuals_counts():
    candidates, held_out, _ = mixture(0.5, count=300, held_out=100)
    found = calibrate(candidates, held_out).probability(candidates)
    other = calibrate(candidates**3, held_out**3).probability(candidates**3)
    assert np.array_equal(found, other)


def test_an_image_without_residual_has_no_probability():
    candidates, held_out, _ = mixture(0.5, count=300, held_out=100)
    found = calibrate(candidates, held_out).probability(np.array([0.1, np.nan]))
    assert np.isfinite(found[0])
    assert np.isnan(found[1])


@pytest.mark.parametrize("seen_share", [0.0, 0.5, 0.9, 1.0])
def test_the_share_of_unseen_images_is_found(seen_share):
    bounds = []
    for seed in range(20):
        candidates, held_out, _ = mixture(seen_share, held_out=400, apart=3.0, seed=seed)
        bounds.append(unseen_share(candidates, held_out))
    unseen = 1 - seen_share
    assert unseen - 0.05 < np.mean(bounds) < unseen + 0.1
    assert np.mean(np.array(bounds) > unseen - 0.1) > 0.8


def test_many_equal_residuals_are_one_step():
    candidates = np.repeat([1.0, 2.0, 3.0], 50)
    found = calibrate(candidates, np.repeat([2.0, 3.0], 30))
    assert set(found.starts) <= {1.0, 2.0, 3.0}
    assert len(set(found.probability(candidates))) == len(found.starts)
