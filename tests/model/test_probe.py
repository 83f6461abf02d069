"""Models that do not answer as a model must: refused when loaded, with what is the matter."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import MemoryLimitError, ModelError
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.probe import refuse_unlike_model
from tests.gradients.networks import Network, task_of
from tests.model.folders import editing, editing_weights, pipeline, unet_with


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return pipeline(tmp_path_factory.mktemp("saved"), num_train_timesteps=20)


@pytest.fixture
def folder(tmp_path, saved) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "m"))


def asking(predict, **options) -> Denoiser:
    denoiser = task_of(Network(torch.nn.Conv2d(2, 2, 3, padding=1))).denoiser
    given = (denoiser.network, denoiser.schedule, denoiser.image_shape, predict, "Own", "here")
    return Denoiser(*given, **options)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(folder, value):
    with editing_weights(folder / "unet") as weights:
        weights["conv_out.bias"][0] = value
    with pytest.raises(ModelError, match=r"1 of its weights hold .* not finite: conv_out\.bias;"):
        load_denoiser(str(folder))


def test_a_fourier_embedding_under_the_timesteps_of_a_ddpm_is_refused_as_such(tmp_path):
    unet = unet_with(time_embedding_type="fourier")
    with pytest.raises(ModelError, match=r"logarithm of the timestep, which is not finite at 0"):
        load_denoiser(str(pipeline(tmp_path / "m", unet)))


@pytest.mark.parametrize("bad", [0, 999])
def test_answers_that_are_not_finite_are_refused_with_their_timestep(bad):
    denoiser = asking(lambda _, noisy, t, __: noisy.log() if t == bad else noisy)
    with pytest.raises(ModelError, match=rf"not finite at timestep {bad};"):
        refuse_unlike_model(denoiser)


def test_a_network_that_lacks_an_input_is_refused_with_its_own_words():
    def wants_captions(network, noisy, timesteps, _):
        return noisy + network.forward(noisy, timesteps, captions=None)

    with pytest.raises(ModelError, match=r"2x6x6 and a timestep \(TypeError: .*'captions'"):
        refuse_unlike_model(asking(wants_captions))


def test_a_device_without_room_for_one_sample_is_refused_as_such():
    def no_room(*_):
        raise MemoryError

    with pytest.raises(MemoryLimitError, match=r"no room for one sample of 2x6x6"):
        refuse_unlike_model(asking(no_room))


@pytest.mark.parametrize(
    ("channels", "learns_variance", "problem"),
    [
        (4, False, "answers 4x6x6 numbers .* 2x6x6 are wanted without a learned variance"),
        (2, True, "answers 2x6x6 numbers .* 4x6x6 are wanted with a learned variance"),
        (3, True, "answers 3x6x6 numbers"),
    ],
)
def test_an_answer_of_other_channels_is_refused_with_both_numbers(
    channels, learns_variance, problem
):
    def predict(_, noisy, *__):
        return noisy[:, :1].expand(-1, channels, -1, -1)

    with pytest.raises(ModelError, match=problem):
        refuse_unlike_model(asking(predict, learns_variance=learns_variance))


def test_an_answer_of_another_size_is_refused():
    with pytest.raises(ModelError, match=r"answers 2x6x5 numbers for a sample of 2x6x6"):
        refuse_unlike_model(asking(lambda _, noisy, *__: noisy[..., 1:]))


def test_a_model_of_twice_the_channels_is_refused_unless_its_scheduler_says_why(tmp_path):
    folder = pipeline(tmp_path / "m", unet_with(out_channels=2))
    with pytest.raises(ModelError, match=r"answers 2x8x8.*variance_type"):
        load_denoiser(str(folder))


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        (None, "sample_size None does not say how large its images are"),
        ([8], "does not say how large"),
        (0, "does not say how large"),
        ([8, -2], "does not say how large"),
        ([8, 13], r"sample_size \[8, 13\] cannot be halved.*multiples of 2: .*\[16, 16\]$"),
        (7, "sample_size 7 cannot be halved"),
    ],
)
def test_a_size_that_is_none_or_does_not_fit_the_blocks_is_refused(folder, size, problem):
    with editing(folder / "unet" / "config.json") as config:
        config["sample_size"] = size
    with pytest.raises(ModelError, match=problem):
        load_denoiser(str(folder))


def test_height_and_width_reach_the_network_in_their_order(tmp_path):
    folder = pipeline(tmp_path / "m", unet_with(sample_size=(8, 12)))
    denoiser = load_denoiser(str(folder))
    assert denoiser.image_shape == ImageShape(1, 8, 12)
    asked = []

    def predict(_, noisy, *__):
        asked.append(tuple(noisy.shape))
        return noisy

    one = Denoiser(
        denoiser.network,
        denoiser.schedule,
        denoiser.image_shape,
        predict,
        "Own",
        "here",
    )
    refuse_unlike_model(one)
    assert asked == [(1, 1, 8, 12)] * 2
