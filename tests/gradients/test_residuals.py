"""Residuals against their formula, one forward pass at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dtrak_stream.gradients.residuals import mean_squared_errors, residuals
from dtrak_stream.objective.noise import ImageNoise
from tests.conftest import build_unet
from tests.gradients.networks import Network, batch_of, images_of, task_of

IDS = [f"image {i}" for i in range(5)]


def slow_errors(task, images):
    """mean_D (output - target)^2 of each image at each pair: (B, pairs)."""
    rows = []
    for image, name in zip(images, IDS):
        errors = []
        for pair in task.pairs:
            noise = task.noise.draw(
                tuple(image.shape), sample_id=name, pairs=[pair], device=torch.device("cpu")
            )
            t = torch.tensor([pair[0]])
            noisy, target = task.denoiser.schedule.noisy_and_target(image[None], noise, t)
            with torch.no_grad():
                wrong = (task.denoiser.predict(noisy, t) - target).double().numpy()
            errors.append((wrong**2).mean())
        rows.append(errors)
    return np.array(rows)


def slow_residuals(task, images):
    """r = mean over pairs of e / ||e||, e the root of the mean squared error of the prediction."""
    errors = np.sqrt(slow_errors(task, images))
    return (errors / np.linalg.norm(errors, axis=1, keepdims=True)).mean(axis=1)


@pytest.mark.parametrize("pairs_per_pass", [1, 4, 1000])
def test_mean_squared_errors_have_a_column_for_each_timestep(pairs_per_pass):
    task = task_of(build_unet(channels=2), timesteps=(500, 0, 60), noise_draws=2)
    images = images_of(task, 5)
    found = mean_squared_errors(task, batch_of(images, IDS), pairs_per_pass)
    assert (found.dtype, found.shape) == (torch.float32, (5, 3))
    expected = slow_errors(task, images).reshape(5, 3, 2).mean(axis=2)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)
    assert all(parameter.grad is None for parameter in task.parameters.values())


@pytest.mark.parametrize("keying", ["shared", "per-sample"])
@pytest.mark.parametrize("pairs_per_pass", [1, 4, 1000])
def test_residuals_are_relative_errors_averaged_over_timesteps(keying, pairs_per_pass):
    noise = ImageNoise(0, keying)
    task = task_of(build_unet(channels=2), noise=noise, noise_draws=2)
    images = images_of(task, 5)
    found = residuals(task, batch_of(images, IDS), pairs_per_pass)
    assert (found.dtype, found.shape) == (torch.float32, (5,))
    np.testing.assert_allclose(found.numpy(), slow_residuals(task, images), rtol=1e-4)


class Zero(torch.nn.Module):
    def forward(self, x):
        return 0 * x


class NotFinite(torch.nn.Module):
    def forward(self, x):
        return x / 0 * 0


def constant_task(body):
    network = Network(body)
    network.register_parameter("unused", torch.nn.Parameter(torch.ones(1)))
    return task_of(network)


def test_equal_errors_give_the_inverse_root_of_their_number(monkeypatch):
    task = constant_task(Zero())
    ones = torch.ones(3, 2, 6, 6)
    monkeypatch.setattr(ImageNoise, "draw", lambda *_, **__: ones)
    found = residuals(task, batch_of(images_of(task, 2), IDS), 100)
    np.testing.assert_allclose(found.numpy(), 3**-0.5, rtol=1e-6)


def test_a_model_that_is_never_wrong_has_no_residual(monkeypatch):
    task = constant_task(Zero())
    zeros = torch.zeros(3, 2, 6, 6)
    monkeypatch.setattr(ImageNoise, "draw", lambda *_, **__: zeros)
    assert residuals(task, batch_of(images_of(task, 2), IDS), 100).tolist() == [0, 0]


def test_an_output_that_is_not_finite_gives_no_number():
    task = constant_task(NotFinite())
    assert not residuals(task, batch_of(images_of(task, 2), IDS), 100).isfinite().any()
