"""Flow matching: levels and targets are those of diffusers' scheduler and training scripts."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.model.flow_schedule import read_flow_schedule
from dtrak_stream.objective.output_functions import OutputFunction

SD3 = {"shift": 3.0}
FLUX = {"shift": 3.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}


def saved(tmp_path, **options):
    FlowMatchEulerDiscreteScheduler(**options).save_pretrained(tmp_path)
    return tmp_path


def edited(tmp_path, **changes):
    path = saved(tmp_path) / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return tmp_path


@pytest.mark.parametrize("options", [{}, SD3, {"num_train_timesteps": 50, "shift": 6}])
def test_levels_are_those_of_the_scheduler_in_training(tmp_path, options):
    scheduler = FlowMatchEulerDiscreteScheduler(**options)
    schedule = read_flow_schedule(saved(tmp_path, **options), tokens=77).schedule
    times = torch.arange(schedule.num_timesteps)
    torch.testing.assert_close(
        schedule.network_times(times), scheduler.timesteps.flip(0), rtol=1e-6, atol=1e-4
    )


@pytest.mark.parametrize("kind", ["exponential", "linear"])
@pytest.mark.parametrize("tokens", [256, 1000, 4096])
def test_levels_are_shifted_for_the_size_of_images_as_by_the_pipeline_of_flux(
    tmp_path, kind, tokens
):
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    options = {**FLUX, "time_shift_type": kind}
    scheduler = FlowMatchEulerDiscreteScheduler(**options)
    schedule = read_flow_schedule(saved(tmp_path, **options), tokens).schedule
    plain = np.arange(1, 1001) / 1000
    scheduler.set_timesteps(sigmas=plain[::-1].copy(), mu=calculate_shift(tokens))
    times = torch.arange(1000)
    expected = scheduler.timesteps.flip(0)
    torch.testing.assert_close(schedule.network_times(times), expected, rtol=1e-5, atol=1e-3)


def test_samples_and_targets_lie_on_a_straight_line(tmp_path):
    schedule = read_flow_schedule(saved(tmp_path, **SD3), 1).schedule
    image, noise = torch.randn(3, 2, 4, 4).double(), torch.randn(3, 2, 4, 4).double()
    noisy, target = schedule.noisy_and_target(image, noise, torch.tensor([0, 400, 999]))
    for row, plain in enumerate((0.001, 0.401, 1.0)):
        sigma = 3 * plain / (1 + 2 * plain)
        expected = (1 - sigma) * image[row] + sigma * noise[row]
        torch.testing.assert_close(noisy[row], expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(target, noise - image)


def test_a_bound_that_is_none_is_refused(tmp_path):
    schedule = read_flow_schedule(saved(tmp_path), 1).schedule
    with pytest.raises(ConfigurationError, match="no finite weight at timestep 5"):
        OutputFunction("elbo", schedule).refuse_timesteps([5])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"_class_name": "DDPMScheduler"}, "DDPMScheduler is not of flow matching"),
        ({"_class_name": None}, "names no class"),
        ({"use_karras_sigmas": True}, "use_karras_sigmas: True is not understood"),
        ({"shift_terminal": 0.1}, "shift_terminal: 0.1 is not understood"),
        ({"something": 3}, "something: 3 is not understood"),
        ({"num_train_timesteps": 0}, "num_train_timesteps: 0"),
        ({"shift": 0}, "a shift of 0 keeps"),
        ({"shift": "3"}, "a shift of '3'"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(tmp_path, changes, problem):
    with pytest.raises(ModelError, match=problem):
        read_flow_schedule(edited(tmp_path, **changes), 1)


def test_fingerprints_tell_shifts_apart(tmp_path):
    identities = {
        read_flow_schedule(saved(tmp_path / str(shift), shift=shift), 1).schedule.identity
        for shift in (1.0, 3.0)
    }
    sizes = saved(tmp_path / "flux", **FLUX)
    identities |= {read_flow_schedule(sizes, tokens).schedule.identity for tokens in (256, 4096)}
    assert len(identities) == 4
