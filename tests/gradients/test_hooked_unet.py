"""The hooked engine on the networks of diffusers, in all ways they are run."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from dtrak_stream.gradients.coverage import served_parameters
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import choose_parameters
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from tests.gradients.networks import (
    assert_rows_close,
    gathered,
    images_of,
    slow_gradients,
)
from tests.gradients.test_hooked import IDS, hooked


def unet_task(folder, name="square", keying="shared", timesteps=(0, 250, 999), **options):
    denoiser = load_denoiser(folder)
    chosen = choose_parameters(denoiser.network, options.pop("parameters", "all"))
    return GradientTask(
        denoiser,
        chosen,
        OutputFunction(name, denoiser.schedule),
        timesteps,
        ImageNoise(0, keying),
        **options,
    )


@pytest.mark.parametrize("keying", ["shared", "per-sample"])
@pytest.mark.parametrize("timesteps", [(400,), (0, 999), tuple(range(0, 1000, 10))])
def test_a_diffusers_unet(model_folder, keying, timesteps):
    task = unet_task(model_folder, keying=keying, timesteps=timesteps)
    assert served_parameters(task) == frozenset(task.parameters)
    images = images_of(task, 3)
    exact = gathered(TimestepBatchedEngine(task), images, IDS)
    assert_rows_close(gathered(hooked(task), images, IDS), exact)
    if len(timesteps) < 100:
        assert_rows_close(exact, slow_gradients(task, images, IDS))


def test_gradients_do_not_depend_on_the_batch(model_folder):
    task = unet_task(model_folder)
    images = images_of(task, 7)
    whole = gathered(hooked(task), images, IDS)
    for pairs_per_pass in (1, 2, 3, 10):
        assert_rows_close(gathered(hooked(task, pairs_per_pass), images, IDS), whole)


def test_several_draws(model_folder):
    task = unet_task(model_folder, keying="per-sample", noise_draws=3)
    images = images_of(task, 2)
    assert_rows_close(gathered(hooked(task), images, IDS), slow_gradients(task, images, IDS))


def test_chosen_parameters_only(model_folder):
    task = unet_task(model_folder, parameters="mid_block.*bias|time_embedding")
    assert 0 < task.num_parameters < 10_000
    images = images_of(task, 3)
    exact = gathered(TimestepBatchedEngine(task), images, IDS)
    assert_rows_close(gathered(hooked(task), images, IDS), exact)


def test_channels_last(model_folder):
    task = unet_task(model_folder)
    images = images_of(task, 3)
    expected = gathered(TimestepBatchedEngine(task), images, IDS)
    task.denoiser.network.to(memory_format=torch.channels_last)
    assert_rows_close(gathered(hooked(task), images, IDS), expected)


def test_gradient_checkpointing(model_folder):
    task = unet_task(model_folder)
    images = images_of(task, 3)
    expected = gathered(hooked(task), images, IDS)
    task.denoiser.network.enable_gradient_checkpointing()
    task.denoiser.network.train()  # diffusers checkpoints in training mode only; no dropout here
    assert_rows_close(gathered(hooked(task), images, IDS), expected)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_and_float32(model_folder, precision):
    task = unet_task(model_folder)
    images = images_of(task, 3)
    expected = gathered(hooked(task), images, IDS)
    half = unet_task(model_folder, autocast=precision)
    half.scale.value = 64.0
    actual = gathered(HookedEngine(half, frozenset(half.parameters), 1000), images, IDS)
    assert_rows_close(actual, expected, tolerance=0.05 if precision == torch.bfloat16 else 0.01)
    assert not torch.equal(actual, expected)


def test_loss_scale_keeps_small_gradients_in_float16(model_folder):
    images = images_of(unet_task(model_folder), 2)
    expected = gathered(hooked(unet_task(model_folder)), images, IDS) * 1e-6

    def tiny(scale):
        task = unet_task(model_folder, autocast=torch.float16)
        task.scale.value = scale
        square = task.output_function
        tiny_task = GradientTask(
            task.denoiser,
            task.parameters,
            cast(OutputFunction, lambda *given: square(*given) * 1e-6),
            task.timesteps,
            task.noise,
            autocast=torch.float16,
            scale=task.scale,
        )
        return gathered(HookedEngine(tiny_task, frozenset(task.parameters), 1000), images, IDS)

    error = (tiny(2.0**20) - expected).norm() / expected.norm()
    assert error < 0.02
    assert (tiny(1.0) - expected).norm() / expected.norm() > 0.5


def test_the_network_is_left_as_it_was(model_folder):
    task = unet_task(model_folder)
    engine = hooked(task)
    images = images_of(task, 2)
    gathered(engine, images, IDS)
    engine.close()
    assert not any(layer._forward_hooks for layer in task.denoiser.network.modules())
    assert all(parameter.grad is None for parameter in task.parameters.values())
