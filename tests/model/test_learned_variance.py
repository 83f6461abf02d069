"""A network that answers a prediction and a variance: only the prediction is attributed."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from dtrak_stream.evaluation.losses import LossMeter
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import choose_parameters
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from dtrak_stream.objective.probes import probe_signs
from tests.gradients.networks import assert_rows_close, batch_of, engine_called, gathered
from tests.model.folders import pipeline, unet_with

TIMESTEPS = (0, 7, 19)


@pytest.fixture(scope="module", params=[(1, "learned"), (3, "learned_range")])
def folder(request, tmp_path_factory) -> str:
    channels, kind = request.param
    unet = unet_with(in_channels=channels, out_channels=2 * channels)
    place = tmp_path_factory.mktemp("model")
    return str(pipeline(place, unet, num_train_timesteps=20, variance_type=kind))


def images_for(denoiser, count=2):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, denoiser.image_shape.channels, 8, 8, generator=generator) * 2 - 1


def noised(denoiser, image, timestep):
    """Return x_t and its noise in float64, written out with the betas of the scheduler."""
    noise = ImageNoise(0).draw(
        tuple(image.shape), sample_id="", pairs=[(timestep, 0)], device=image.device
    )
    betas = DDPMScheduler(num_train_timesteps=20).betas.double()
    kept = torch.prod(1 - betas[: timestep + 1])
    noise = noise.double()
    return kept.sqrt() * image[None].double() + (1 - kept).sqrt() * noise, noise


def by_hand(name, prediction, noise, schedule, timestep):
    error = (prediction - noise).square().mean()
    by_name = {
        "square": prediction.square().mean(),
        "simple": error,
        "elbo": schedule.elbo_weight(torch.tensor([timestep]))[0] * error,
        "avg": prediction.mean(),
        "l1": prediction.abs().sum(),
        "l2": prediction.square().sum().sqrt(),
        "linf": prediction.abs().max(),
        "probe(2/4)": (prediction * probe_signs(0, 2, prediction.shape[1:], noise.device)).mean(),
        "interpolation(0.5)": 0.5 * prediction.square().mean()
        + 0.5 * (error - prediction.square().mean()),
    }
    return by_name[name]


@pytest.mark.parametrize("kind", ["timestep-batched", "hooked"])
@pytest.mark.parametrize(
    "name",
    ["square", "simple", "elbo", "avg", "l1", "l2", "linf", "interpolation(0.5)", "probe(2/4)"],
)
def test_gradients_are_those_of_the_prediction(folder, name, kind):
    exact = load_denoiser(folder, dtype=torch.float64)
    denoiser = load_denoiser(folder)
    images = images_for(denoiser)
    channels = denoiser.image_shape.channels
    rows = []
    for image in images:
        value = torch.zeros((), dtype=torch.float64)
        for timestep in TIMESTEPS:
            noisy, noise = noised(exact, image, timestep)
            prediction = exact.network(noisy, timestep).sample[:, :channels]
            value = value + by_hand(name, prediction, noise, exact.schedule, timestep) / 3
        gradients = torch.autograd.grad(value, list(exact.network.parameters()))
        rows.append(torch.cat([part.flatten() for part in gradients]))
    function = OutputFunction(name, denoiser.schedule)
    chosen = choose_parameters(denoiser.network, "all")
    task = GradientTask(denoiser, chosen, function, TIMESTEPS, ImageNoise(0))
    found = gathered(engine_called(kind, task, frozenset(chosen)), images, ["a", "b"])
    assert_rows_close(found, torch.stack(rows), tolerance=2e-5)


@torch.no_grad()
def test_losses_are_those_of_the_prediction(folder):
    exact = load_denoiser(folder, dtype=torch.float64)
    denoiser = load_denoiser(folder)
    images = images_for(denoiser)
    options = LossOptions(loss_timesteps="list:0,7,19", loss_draws=1, loss_seed=0)
    found = LossMeter(denoiser, options).of_batch(batch_of(images, ["a", "b"]))
    channels = denoiser.image_shape.channels
    for image, loss in zip(images, found, strict=True):
        expected = 0.0
        for timestep in TIMESTEPS:
            noisy, noise = noised(exact, image, timestep)
            prediction = exact.network(noisy, timestep).sample[:, :channels]
            expected += float((prediction - noise).square().mean()) / 3
        assert loss == pytest.approx(expected, rel=1e-5)


def test_a_model_with_a_variance_is_another_one_than_without(folder):
    denoiser = load_denoiser(folder)
    assert denoiser.identity.endswith("and a variance that is left out")
    assert "predicts epsilon and a variance" in denoiser.description


def test_the_whole_answer_is_there_for_samplers(folder):
    denoiser = load_denoiser(folder)
    images, times = images_for(denoiser), torch.tensor([3, 3])
    answer, channels = denoiser.answer(images, times), images.shape[1]
    assert answer.shape[1] == 2 * channels
    assert torch.equal(denoiser.predict(images, times), answer[:, :channels])
