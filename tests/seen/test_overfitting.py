"""The damping that follows from how much more wrong a model is about images it did not see."""

from __future__ import annotations

import numpy as np
import pytest

from dtrak_stream.seen.overfitting import freedom_share, loss_ratio


def test_the_ratio_is_that_of_the_means():
    found = loss_ratio(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0]))
    assert found.value == pytest.approx(1.5)


def test_its_error_is_the_spread_over_samples():
    generator = np.random.default_rng(0)

    def draw():
        return generator.gamma(2.0, 1.0, 400), generator.gamma(2.0, 1.3, 100)

    drawn = [loss_ratio(*draw()) for _ in range(2000)]
    values, errors = np.array(drawn).T
    assert values.std() == pytest.approx(errors.mean(), rel=0.05)
    assert values.mean() == pytest.approx(1.3, abs=0.01)


@pytest.mark.parametrize(
    ("ratio", "share"),
    [(0.9, 0.05), (1.0, 0.05), (1.06, 0.05), (1.28, 0.1742), (1.44, 0.25), (5.0, 0.25)],
)
def test_a_model_that_learned_single_images_has_more_freedom(ratio, share):
    assert freedom_share(ratio) == pytest.approx(share, abs=1e-4)
