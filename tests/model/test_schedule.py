"""Noising images: the scheduler's own noise and targets, and schedules that are none of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from diffusers import DDPMScheduler

from dtrak_stream.errors import ModelError
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.places import EMBEDDED_MODEL
from dtrak_stream.model.schedule import DDPMSchedule
from tests.conftest import build_unet, save_model
from tests.gradients.networks import Network, assert_rows_close, gathered, images_of, task_of


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_noisy_images_and_targets_are_those_of_the_scheduler(tmp_path, prediction_type):
    folder = save_model(tmp_path / "m", build_unet(), prediction_type)
    schedule = load_denoiser(folder).schedule
    image, noise = torch.randn(2, 3, 1, 8, 8, dtype=torch.float64)
    timesteps = torch.tensor([0, 400, 999])
    reference = DDPMScheduler()
    noisy, target = schedule.noisy_and_target(image, noise, timesteps)
    torch.testing.assert_close(
        noisy, reference.add_noise(image, noise, timesteps), rtol=1e-5, atol=1e-6
    )
    expected = {
        "epsilon": noise,
        "v_prediction": reference.get_velocity(image, noise, timesteps),
        "sample": image,
    }[prediction_type]
    torch.testing.assert_close(target, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_elbo_weight_of_each_timestep_is_the_formula(prediction_type):
    scheduler = DDPMScheduler(num_train_timesteps=20, prediction_type=prediction_type)
    schedule = DDPMSchedule.of(scheduler)
    for t in range(20):
        beta, kept = float(scheduler.betas[t]), float(scheduler.alphas_cumprod[t])
        weight = beta / (2 * (1 - beta) * (1 - kept))
        weight *= {"epsilon": 1, "v_prediction": kept, "sample": kept / (1 - kept)}[prediction_type]
        assert schedule.elbo_weight(torch.tensor([t])).item() == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
def test_elbo_weight_where_nothing_is_kept_is_the_limit_of_the_formula(prediction_type):
    scheduler = DDPMScheduler(rescale_betas_zero_snr=True, prediction_type=prediction_type)
    assert scheduler.alphas_cumprod[-1] == 0
    before = float(scheduler.alphas_cumprod[-2])
    limits = []
    for alpha in (1e-6, 1e-9):  # of the last timestep, in float64
        beta, kept = 1 - alpha, alpha * before
        error = {"v_prediction": kept, "sample": kept / (1 - kept)}[prediction_type]
        limits.append(beta / (2 * alpha * (1 - kept)) * error)
    assert limits[0] == pytest.approx(limits[1], rel=1e-5)
    weight = DDPMSchedule.of(scheduler).elbo_weight(torch.tensor([999])).item()
    assert weight == pytest.approx(limits[1], rel=1e-6)


def test_elbo_has_no_weight_for_noise_where_nothing_is_kept():
    schedule = DDPMSchedule.of(DDPMScheduler(rescale_betas_zero_snr=True))
    weights = schedule.elbo_weight(torch.tensor([998, 999]))
    assert weights.isfinite().tolist() == [True, False]


def test_the_embedded_model_is_called_as_in_stores_of_earlier_versions():
    found = load_denoiser(EMBEDDED_MODEL).identity
    assert found == "UNet2DModel predicting epsilon, schedule d2d08d60897d16fb"


def test_other_numbers_or_another_prediction_are_another_identity():
    schedule = DDPMSchedule.of(DDPMScheduler())
    others = [
        replace(schedule, prediction_type="sample"),
        replace(schedule, betas=schedule.betas * (1 + 1e-15)),
        replace(schedule, alphas_cumprod=schedule.alphas_cumprod[:-1], betas=schedule.betas[:-1]),
    ]
    assert len({schedule.identity, *(other.identity for other in others)}) == 4


def test_unknown_prediction_type_is_refused_by_name():
    scheduler = DDPMScheduler()
    scheduler.register_to_config(prediction_type="score")
    with pytest.raises(ModelError, match=r"'score'.*epsilon, v_prediction, sample"):
        DDPMSchedule.of(scheduler)


@dataclass(frozen=True)
class StraightLine:
    """Between image and noise on a straight line, with the direction as the target."""

    num_timesteps: int = 1000
    identity: str = "straight line"

    def noisy_and_target(self, image, noise, timesteps):
        share = (timesteps.to(noise.dtype) + 1)[:, None, None, None] / self.num_timesteps
        return (1 - share) * image + share * noise, noise - image

    def network_times(self, timesteps):
        return timesteps

    def elbo_weight(self, timesteps):
        return 1.0 / (timesteps.double() + 1)


@pytest.mark.parametrize("name", ["simple", "elbo"])
def test_gradients_follow_any_schedule(name):
    torch.manual_seed(0)
    network = Network(torch.nn.Conv2d(2, 2, 3, padding=1))
    task = task_of(network, name=name, schedule=StraightLine(), timesteps=(9, 499))
    images = images_of(task, 1)
    values = []
    for t in (9, 499):
        noise = task.noise.draw((2, 6, 6), sample_id="", pairs=[(t, 0)], device=images.device)
        share = (t + 1) / 1000
        answer = network.body((1 - share) * images + share * noise)
        weight = 1 if name == "simple" else 1 / (t + 1)
        values.append(weight * (answer - (noise - images)).square().mean())
    expected = torch.autograd.grad(sum(values) / 2, list(network.parameters()))
    actual = gathered(TimestepBatchedEngine(task), images, ["a"])
    assert_rows_close(actual, torch.cat([part.flatten() for part in expected])[None])
