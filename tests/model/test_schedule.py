"""Noising images: the scheduler's own noise and targets."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from dtrak_stream.model.loading import load_denoiser
from tests.conftest import build_unet, save_model


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
