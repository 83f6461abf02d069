"""Identities that hold between methods whatever the features are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dtrak_stream.gram.file import Gram
from dtrak_stream.kernel.damping import Damping
from dtrak_stream.kernel.solvers import CholeskyKernel
from dtrak_stream.kernel.spectrum import exact_spectrum
from dtrak_stream.model.schedule import DDPMSchedule
from dtrak_stream.objective.output_functions import OutputFunction
from dtrak_stream.scoring.normalisation import NORMALISATIONS, TrainingSide
from tests.scoring.conftest import attribution_of, close, whole_numbers

TRAIN, QUERY = whole_numbers(24, 64), whole_numbers(5, 64, 1)
HUGE = 1e12


def scores_of(folder, method, train=TRAIN, query=QUERY, output_function="simple", **options):
    run = attribution_of(folder, train, query, output_function=output_function)
    return run.scores(method=method, **options)


def test_one_checkpoint_makes_tracincp_a_dot_product_and_gas_a_cosine(tmp_path):
    for ensemble, single in (("tracincp", "gradient-dot"), ("gas", "gradient-cosine")):
        one = scores_of(tmp_path / ensemble, ensemble)
        assert np.array_equal(one, scores_of(tmp_path / single, single))


def test_for_large_damping_relative_if_and_lambda_times_renorm_if_coincide(tmp_path):
    relative = scores_of(tmp_path / "relative", "relative-if", damping=f"abs:{HUGE}")
    renorm = scores_of(tmp_path / "renorm", "renorm-if", damping=f"abs:{HUGE}")
    assert close(relative, HUGE * renorm)


def test_half_of_simple_is_trak_with_four_times_the_damping(tmp_path):
    """eta = 0.5 has half the feature: both sides scale by 1/2, and the kernel by 1/4."""
    half = scores_of(
        tmp_path / "half", "d-trak", TRAIN / 2, QUERY / 2, "interpolation(0.5)", damping="abs:100"
    )
    simple = scores_of(tmp_path / "simple", "trak", damping="abs:400")
    assert close(half, simple)


def gradients(function: str, target: torch.Tensor) -> torch.Tensor:
    """Gradient of f for a linear model in float64."""
    schedule = DDPMSchedule(torch.linspace(0.9, 0.1, 10), torch.full((10,), 0.1), "epsilon")
    weight = torch.randn(12, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight.requires_grad_()
    inputs = torch.randn(4, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    output = inputs @ weight  # (4, 12) @ (12, 6) -> (4, 6)
    values = OutputFunction(function, schedule)(output, target, torch.arange(4))
    (gradient,) = torch.autograd.grad(values.mean(), weight)
    return gradient


def test_interpolation_has_both_methods_at_its_ends():
    target = torch.randn(4, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    square, simple = gradients("square", target), gradients("simple", target)
    assert torch.allclose(gradients("interpolation(1)", target), square)
    assert torch.allclose(gradients("interpolation(0.5)", target), simple / 2)
    assert torch.allclose(gradients("simple", torch.zeros_like(target)), square)


def in_float64(folder, form, damping):
    """The factors of one form with an exact Gram matrix, which whole numbers have."""
    run = attribution_of(folder, TRAIN, QUERY, form=form)
    gram = Gram.open(run.gram)
    matrix = gram.matrix()
    kernel = CholeskyKernel(matrix.copy(), Damping(damping, damping, 1.0), exact_spectrum(matrix))
    return TrainingSide(run.train, kernel, gram)


@pytest.mark.parametrize("damping", [1.0, 300.0, 1e7])
def test_leverage_and_relative_if_are_the_same_in_both_forms(tmp_path, damping):
    primal, dual = (in_float64(tmp_path / form, form, damping) for form in ("primal", "dual"))
    rows = range(24)
    lengths = [NORMALISATIONS["relative-if"].factors(form, rows)[0] for form in (primal, dual)]
    assert np.allclose(lengths[0], lengths[1], rtol=1e-9)
    phi = TRAIN.astype(np.float64)
    inverse = np.linalg.inv(phi.T @ phi + damping * np.eye(64))
    assert np.allclose(1 / lengths[0], np.linalg.norm(phi @ inverse, axis=1), rtol=1e-9)
    leverages = [form.leverages(rows)[0] for form in (primal, dual)]
    assert np.allclose(leverages[0], leverages[1], rtol=1e-9)
    assert np.allclose(leverages[0], np.einsum("nk,kl,nl->n", phi, inverse, phi), rtol=1e-9)
    for leverage in leverages:
        assert (leverage >= 0).all()
        assert (leverage < 1).all()


def test_the_leverages_sum_to_the_effective_degrees_of_freedom(tmp_path):
    form = in_float64(tmp_path, "dual", 300.0)
    eigenvalues = np.linalg.eigvalsh(TRAIN.astype(np.float64) @ TRAIN.T)
    expected = (eigenvalues / (eigenvalues + 300.0)).sum()
    assert form.leverages(range(24)).sum() == pytest.approx(expected)
