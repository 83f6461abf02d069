"""The table of normalisations, and that a new one is one row of it."""

from __future__ import annotations

import numpy as np

from dtrak_stream.methods import METHODS
from dtrak_stream.scoring.normalisation import NORMALISATIONS
from tests.scoring.conftest import close, formula, whole_numbers
from tests.scoring.extended_package import ExtendedPackage

ROW = """
    Normalisation("by-leverage", lambda side, rows: side.leverages(rows), needs_solves=True),
"""
METHOD = """
    Method("weighed", "tau h_n", "a test", "gradients", (_GRADIENT,), True, "by-leverage", "-"),
"""


def test_every_method_names_a_normalisation_of_the_table():
    assert {method.normalisation for method in METHODS.values()} <= NORMALISATIONS.keys()


def test_queries_without_a_gradient_stay_zero_under_the_cosine():
    features = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    scaled = NORMALISATIONS["cosine"].queries(features)
    assert scaled.tolist() == [[np.float32(0.6), np.float32(0.8)], [0, 0]]


def test_a_new_normalisation_is_one_row_of_the_table_and_a_method_with_it_another(small, tmp_path):
    package = ExtendedPackage.of(
        tmp_path,
        {
            "scoring/normalisation.py": ("\n_TABLE = (\n", f"\n_TABLE = ({ROW}"),
            "methods.py": ("\n_TABLE = (\n", f"\n_TABLE = ({METHOD}"),
        },
    )
    damping = 300.0
    scores, attributes = package.score(small, method="weighed", damping=f"abs:{damping}")
    train, query = whole_numbers(24, 64), whole_numbers(5, 64, 1)
    assert close(scores, formula(train, query, damping) * np.diag(formula(train, train, damping)))
    assert attributes["kernel_solver"] == "cholesky"
