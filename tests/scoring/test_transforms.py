"""The table of transforms, and that a new one is one row of it."""

from __future__ import annotations

import numpy as np
import pytest

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.methods import METHODS, find_method
from dtrak_stream.scoring.transforms import TRANSFORMS, transform_of
from tests.scoring.conftest import close, formula, whole_numbers
from tests.scoring.extended_package import ExtendedPackage


@pytest.mark.parametrize("asked", ["none", "square", "abs"])
def test_any_first_order_score_is_transformed_as_asked(asked):
    for method in METHODS.values():
        if method.transform == "none":
            assert transform_of(method, asked).name == asked


def test_a_score_that_is_a_square_stays_one_and_takes_nothing_else():
    das = find_method("das")
    assert transform_of(das, "none") is transform_of(das, "square") is TRANSFORMS["square"]
    with pytest.raises(ConfigurationError, match="--transform abs: the score of das is transf"):
        transform_of(das, "abs")


def test_best_keeps_opponents():
    assert transform_of(find_method("best"), "none").keeps_sign


def test_each_transform_is_what_its_name_says():
    scores = np.array([-3.0, 0.0, 2.0], np.float32)
    expected = {
        "none": [-3, 0, 2],
        "signed-square": [-9, 0, 4],
        "square": [9, 0, 4],
        "mean-square": [9, 0, 4],
        "abs": [3, 0, 2],
    }
    assert expected.keys() == TRANSFORMS.keys()
    for name, values in expected.items():
        transform = TRANSFORMS[name]
        found = transform.mean(transform.each(scores))
        assert found.tolist() == values
        assert found.dtype == np.float32
        assert transform.keeps_sign == (min(values) < 0)


def test_every_method_names_a_transform_of_the_table():
    assert {method.transform for method in METHODS.values()} <= TRANSFORMS.keys()


def test_an_unknown_transform_is_refused_with_the_names_of_all(small):
    with pytest.raises(ConfigurationError, match="--transform cube: unknown transform; use one of"):
        small.score(transform="cube")


def test_a_new_transform_is_one_row_of_the_table(small, tmp_path):
    """It is offered and explained, scores follow it, and `auto` takes its share of N."""
    row = 'Transform("cube", "s to the third", True, 0.3, 0.9, "cubed", lambda s: s**3),'
    package = ExtendedPackage.of(
        tmp_path, {"scoring/transforms.py": ("_TABLE = (\n", f"_TABLE = (\n    {row}\n")}
    )
    help_text = package.score_help()
    assert "--transform {cube,none," in help_text
    assert "cube: s to the third" in help_text
    scores, attributes = package.score(small, transform="cube", damping="auto")
    assert attributes["effective_dimension"] == pytest.approx(0.3 * 24, rel=1e-6)
    tau = formula(whole_numbers(24, 64), whole_numbers(5, 64, 1), attributes["damping_absolute"])
    assert close(scores, tau**3)
