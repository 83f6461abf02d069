"""Output functions against float64 formulas."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.model.schedule import DDPMSchedule
from dtrak_stream.objective.formulas import FORMULAS
from dtrak_stream.objective.output_functions import OutputFunction
from dtrak_stream.store.reader import FeatureStore
from tests.conftest import build_unet
from tests.small_jobs import random_pixels, save_images, small_job


def schedule(prediction_type="epsilon"):
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    return DDPMSchedule(
        scheduler.alphas_cumprod.double(), scheduler.betas.double(), prediction_type
    )


TIMESTEPS = torch.tensor([0, 10, 500, 990])


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    output, target = torch.randn(2, 4, 3, 5, 6, generator=generator, dtype=torch.float64)
    return output, target


def slow(name, output, target):
    """Each definition of the table, one element at a time."""
    elements = [(float(o), float(t)) for o, t in zip(output.flatten(), target.flatten())]
    count = len(elements)
    return {
        "simple": sum((o - t) ** 2 for o, t in elements) / count,
        "square": sum(o**2 for o, _ in elements) / count,
        "avg": sum(o for o, _ in elements) / count,
        "l1": sum(abs(o) for o, _ in elements),
        "l2": sum(o**2 for o, _ in elements) ** 0.5,
        "linf": max(abs(o) for o, _ in elements),
    }[name]


@pytest.mark.parametrize("name", ["simple", "square", "avg", "l1", "l2", "linf"])
def test_output_function_equals_its_definition(name):
    output, target = batch()
    values = OutputFunction(name, schedule())(output, target, TIMESTEPS)
    expected = torch.tensor([slow(name, o, t) for o, t in zip(output, target)]).double()
    torch.testing.assert_close(values, expected)


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_a_loss_depends_on_the_target_and_a_prediction_does_not(formula):
    output, target = batch()
    values = [formula.value(output, each) for each in (target, target + 1)]
    assert torch.equal(*values) == (formula.tells == "prediction")


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_a_formula_gives_each_sample_a_number_of_its_own(formula):
    output, target = batch()
    together = formula.value(output, target)
    assert together.shape == (4,)
    alone = [formula.value(output[[row]], target[[row]]) for row in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize(
    ("timestep", "weight"), [(0, 0.500), (10, 0.068), (100, 0.010), (500, 0.0055), (990, 0.0101)]
)
def test_elbo_weighs_simple_by_the_published_weights(timestep, weight):
    output, target = batch()
    timesteps = torch.tensor([timestep] * 4)
    elbo = OutputFunction("elbo", schedule())(output, target, timesteps)
    simple = OutputFunction("simple", schedule())(output, target, timesteps)
    torch.testing.assert_close(elbo / simple, torch.full_like(elbo, weight), rtol=0.06, atol=0)


@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
def test_elbo_is_the_same_whatever_the_model_predicts(prediction_type):
    """A prediction of v or x that stands for the same noise has the same elbo."""
    noises = schedule()
    generator = torch.Generator().manual_seed(1)
    image, noise, guess = torch.randn(3, 4, 1, 4, 4, generator=generator, dtype=torch.float64)
    kept = noises.alphas_cumprod[TIMESTEPS][:, None, None, None]
    noisy, _ = noises.noisy_and_target(image, noise, TIMESTEPS)
    guessed_image = (noisy - (1 - kept).sqrt() * guess) / kept.sqrt()
    other = schedule(prediction_type)
    _, target = other.noisy_and_target(image, noise, TIMESTEPS)
    output = {
        "v_prediction": kept.sqrt() * guess - (1 - kept).sqrt() * guessed_image,
        "sample": guessed_image,
    }[prediction_type]
    torch.testing.assert_close(
        OutputFunction("elbo", other)(output, target, TIMESTEPS),
        OutputFunction("elbo", noises)(guess, noise, TIMESTEPS),
    )


@given(st.floats(-2, 2))
def test_interpolation_mixes_square_and_simple(eta):
    output, target = batch()
    values = OutputFunction(f"interpolation({eta})", schedule())(output, target, TIMESTEPS)
    square = OutputFunction("square", schedule())(output, target, TIMESTEPS)
    simple = OutputFunction("simple", schedule())(output, target, TIMESTEPS)
    torch.testing.assert_close(values, eta * square + (1 - eta) * (simple - square))


def test_interpolation_at_one_is_square_and_at_one_half_is_half_of_simple():
    output, target = batch()
    at = {eta: OutputFunction(f"interpolation({eta})", schedule()) for eta in (1, 0.5)}
    square = OutputFunction("square", schedule())(output, target, TIMESTEPS)
    simple = OutputFunction("simple", schedule())(output, target, TIMESTEPS)
    torch.testing.assert_close(at[1](output, target, TIMESTEPS), square)
    torch.testing.assert_close(at[0.5](output, target, TIMESTEPS), simple / 2)


def test_square_is_simple_against_a_target_of_zeros():
    output, _ = batch()
    zeros = torch.zeros_like(output)
    torch.testing.assert_close(
        OutputFunction("square", schedule())(output, batch()[1], TIMESTEPS),
        OutputFunction("simple", schedule())(output, zeros, TIMESTEPS),
    )


def test_gradient_of_the_norm_of_a_zero_output_is_finite():
    output = torch.zeros(1, 1, 2, 2, requires_grad=True)
    OutputFunction("l2", schedule())(output, output.detach(), torch.tensor([3])).sum().backward()
    assert output.grad is not None
    assert torch.isfinite(output.grad).all()


@pytest.mark.parametrize("name", ["squares", "interpolation", "interpolation(x)", ""])
def test_unknown_output_function_is_refused(name):
    with pytest.raises(ConfigurationError, match=", ".join(FORMULAS)):
        OutputFunction(name, schedule())


def zero_terminal_model(folder, prediction_type):
    scheduler = DDPMScheduler(rescale_betas_zero_snr=True, prediction_type=prediction_type)
    DDPMPipeline(build_unet(), scheduler).save_pretrained(folder)
    return str(folder)


def elbo_job(tmp_path, prediction_type):
    model = zero_terminal_model(tmp_path / "m", prediction_type)
    images = save_images(tmp_path / "images", random_pixels(2))
    return small_job(model, images, tmp_path / "s", output_function="elbo", timesteps="list:0,999")


def test_elbo_of_noise_where_nothing_is_kept_is_refused_before_any_work(tmp_path):
    with pytest.raises(ConfigurationError, match=r"timestep 999 .*--timesteps list:"):
        featurize(elbo_job(tmp_path, "epsilon"))
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
def test_elbo_where_nothing_is_kept_gives_every_sample_a_feature(tmp_path, prediction_type):
    job = elbo_job(tmp_path, prediction_type)
    assert featurize(job).quarantined == 0
    assert FeatureStore.open(job.store).rows(range(2)).any(axis=1).all()
