"""How dampings are written, and the rule of shrinkage."""

from __future__ import annotations

import numpy as np
import pytest

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.kernel.damping import (
    PATH,
    GramFacts,
    choose_damping,
    parse_dampings,
    shrinkage_damping,
)
from dtrak_stream.kernel.matrix import MatrixInMemory, moments_of
from dtrak_stream.kernel.spectrum import ROUNDING, exact_spectrum


def test_a_list_has_its_dampings_in_order():
    choices = parse_dampings("0.01, abs:500,auto,auto-oas")
    assert choices.several
    assert not choices.whole_path
    assert [(choice.text, choice.kind, choice.value) for choice in choices.each] == [
        ("0.01", "relative", 0.01),
        ("abs:500", "absolute", 500),
        ("auto", "auto", 0),
        ("auto-oas", "auto-oas", 0),
    ]


@pytest.mark.parametrize("text", ["auto", "0.1", "abs:500"])
def test_a_single_damping_is_no_list(text):
    assert not parse_dampings(text).several


def test_the_path_spans_all_dampings_that_were_ever_best():
    choices = parse_dampings("path")
    assert choices.several
    assert choices.whole_path
    values = [choice.value for choice in choices.each]
    assert tuple(values) == PATH
    assert values == sorted(values)
    assert values[0] < 0.001
    assert values[-1] > 3


@pytest.mark.parametrize("text", ["0.1,", "0.1,-2", "0.1,many", "path,0.1", ",", "auto-magic"])
def test_a_malformed_list_is_refused(text):
    part = text.split(",")[-1] if text != "path,0.1" else "path"
    with pytest.raises(ConfigurationError) as refusal:
        parse_dampings(text)
    assert str(refusal.value).startswith(f"--damping {part}: not a damping; use auto, ")


def facts(phi):
    samples, dim = phi.shape
    return GramFacts(samples, dim, 0.15, 0.45, moments_of(MatrixInMemory(phi.T @ phi)))


def test_shrinkage_is_that_of_the_publication():
    phi = np.random.default_rng(0).normal(size=(40, 12)) * np.arange(1, 13)
    covariance = phi.T @ phi / 40
    # equation 23 of the publication, term by term
    square, trace = np.trace(covariance @ covariance), np.trace(covariance)
    above = (1 - 2 / 12) * square + trace**2
    share = above / ((40 + 1 - 2 / 12) * (square - trace**2 / 12))
    shrunk = (1 - share) * covariance + share * trace / 12 * np.eye(12)
    kernel = np.linalg.inv(phi.T @ phi + shrinkage_damping(facts(phi)) * np.eye(12))
    assert np.allclose(np.linalg.inv(shrunk), 40 / (1 - share) * kernel)


def test_shrinkage_is_the_same_in_both_forms():
    phi = np.random.default_rng(0).normal(size=(20, 50))
    dual = GramFacts(20, 50, 0.15, 0.45, moments_of(MatrixInMemory(phi @ phi.T)))
    assert shrinkage_damping(facts(phi)) == pytest.approx(shrinkage_damping(dual))


def test_shrinkage_falls_with_more_samples_of_few_directions():
    few, many = (
        np.random.default_rng(0).normal(size=(n, 30)) * 0.5 ** np.arange(30) for n in (50, 5000)
    )
    relative = [shrinkage_damping(facts(phi)) / facts(phi).mean_eigenvalue for phi in (few, many)]
    assert relative[1] < relative[0] / 50


def test_features_without_a_direction_are_shrunk_as_far_as_it_goes():
    assert 0 < shrinkage_damping(facts(np.eye(8))) < float("inf")


def test_shrinkage_stays_above_the_rounding_of_float32():
    """Where samples are many beside the dimensions, the rule by itself gives next to nothing."""
    gram = np.diag([1.0, 2.0, 5.0])
    spectrum = exact_spectrum(gram)
    many = GramFacts(10**12, 3, 0.15, 0.45, moments_of(MatrixInMemory(gram)))
    (choice,) = parse_dampings("auto-oas").each
    assert 0 < shrinkage_damping(many) < ROUNDING * 5
    assert choose_damping(choice, spectrum, many).absolute == ROUNDING * 5
    few = GramFacts(10, 3, 0.15, 0.45, moments_of(MatrixInMemory(gram)))
    assert choose_damping(choice, spectrum, few).absolute == shrinkage_damping(few) > ROUNDING * 5
