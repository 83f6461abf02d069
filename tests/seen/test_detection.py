"""Areas and true positives against counting, and their errors against repeated draws."""

from __future__ import annotations

import numpy as np
import pytest

from dtrak_stream.seen.detection import area_under_curve, true_positives


def draws(seed, candidates=300, held_out=250, apart=1.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=candidates) - apart, rng.normal(size=held_out)


def positives(candidates, held_out):
    """Return true positives of sets that are large enough to tell."""
    found = true_positives(candidates, held_out)
    assert found is not None
    return found


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    candidates = rng.integers(0, 9, 40).astype(np.float64)
    held_out = rng.integers(2, 12, 30).astype(np.float64)
    pairs = [(a < b) + (a == b) / 2 for a in candidates for b in held_out]
    assert area_under_curve(candidates, held_out).value == pytest.approx(np.mean(pairs))


def test_the_error_of_the_area_is_its_spread_over_draws():
    found = [area_under_curve(*draws(seed)) for seed in range(200)]
    spread = np.std([each.value for each in found])
    assert np.mean([each.error for each in found]) == pytest.approx(spread, rel=0.15)


def test_equal_sets_cannot_be_told_apart():
    values = np.arange(50.0)
    assert area_under_curve(values, values).value == pytest.approx(0.5)


def test_true_positives_leave_1_percent_of_unseen_images_below_the_bar():
    held_out = np.arange(1000.0)  # the bar is the 10th smallest, 9
    candidates = np.array([8.9, 9.0, 9.1, -5.0])
    assert positives(candidates, held_out).value == 0.5
    candidates, held_out = draws(0, held_out=999)
    bar = np.sort(held_out)[9]
    assert positives(candidates, held_out).value == (candidates < bar).mean()


def test_unseen_candidates_are_true_positives_as_rarely_as_promised():
    found = [positives(*draws(seed, apart=0.0)).value for seed in range(100)]
    assert np.mean(found) < 0.0125


def test_the_error_of_true_positives_is_about_their_spread_over_draws():
    found = [positives(*draws(seed, held_out=999, apart=2.0)) for seed in range(100)]
    spread = np.std([each.value for each in found])
    assert 0.6 < np.mean([each.error for each in found]) / spread < 1.6


def test_fewer_than_99_held_out_images_say_nothing_of_1_percent():
    candidates, held_out = draws(0)
    assert true_positives(candidates, held_out[:98]) is None
    assert true_positives(candidates, held_out[:99]) is not None
