"""The network, what it learns, and options that cannot be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from torch import nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import (
    ConfigurationError,
    ModelError,
)
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.training.configuration import (
    ArchitectureOptions,
    NoiseScheduleOptions,
    OptimisationOptions,
)
from dtrak_stream.training.optimisation import build_network
from dtrak_stream.training.run import train
from tests.training.tiny_runs import (
    EVERYTHING,
    TINY,
    tiny,
    trained_bytes,
)


def test_seed_decides_the_bytes(tmp_path):
    first = trained_bytes(tiny(tmp_path / "first", seed=1))
    torch.manual_seed(99)
    assert trained_bytes(tiny(tmp_path / "again", seed=1)) == first
    assert trained_bytes(tiny(tmp_path / "other", seed=2)) != first


def test_callers_random_state_is_left_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(tiny(tmp_path), visible=False)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_network_learns_what_the_scheduler_says(tmp_path, prediction_type):
    np.save(tmp_path / "flat.npy", np.full((8, 4, 4, 1), 255, np.uint8))
    config = tiny(
        tmp_path / "out",
        images=str(tmp_path / "flat.npy"),
        steps=60,
        learning_rate=2e-2,
        noise_schedule=NoiseScheduleOptions(prediction_type=prediction_type),
    )
    train(config, visible=False)
    denoiser = load_denoiser(str(config.out))
    assert f"predicting {prediction_type}," in denoiser.schedule.identity
    image, noise = torch.ones(32, 1, 4, 4), torch.randn(32, 1, 4, 4)
    timesteps = torch.arange(100, 900, 25)
    noisy, target = denoiser.schedule.noisy_and_target(image, noise, timesteps)
    with torch.no_grad():
        error = (denoiser.predict(noisy, timesteps) - target).square().mean()
    assert error < 0.25 * target.square().mean()


def test_averaged_weights_are_saved_only_if_asked_for(tmp_path):
    last = trained_bytes(tiny(tmp_path / "last"))
    slow = trained_bytes(tiny(tmp_path / "slow", ema=True))
    no_memory = trained_bytes(tiny(tmp_path / "none", ema=True, ema_decay=0.0))
    assert slow != last
    assert no_memory == last


def test_dropout_reaches_every_dropout_layer():
    network = build_network(EVERYTHING, ImageShape(1, 8, 8))
    layers = [module for module in network.modules() if isinstance(module, nn.Dropout)]
    assert len(layers) > 4
    assert {layer.p for layer in layers} == {0.2}


def test_diverging_run_stops_and_saves_nothing(tmp_path):
    config = tiny(tmp_path, learning_rate=1e30, warmup_fraction=0.0)
    with pytest.raises(ModelError, match=r"step \d+: training diverged.*--learning-rate"):
        train(config, visible=False)
    assert not (tmp_path / "model_index.json").exists()


def test_images_too_small_for_the_levels_are_refused(tmp_path):
    deep = dataclasses.replace(TINY, block_out_channels=(8, 8, 8, 8, 8))
    with pytest.raises(ConfigurationError, match="multiples of 16"):
        train(tiny(tmp_path, architecture=deep), visible=False)


@pytest.mark.parametrize(
    ("options", "changes", "flag"),
    [
        (ArchitectureOptions, {"block_out_channels": (12,)}, "--block-out-channels"),
        (ArchitectureOptions, {"block_out_channels": ()}, "--block-out-channels"),
        (ArchitectureOptions, {"norm_num_groups": 0}, "--block-out-channels"),
        (ArchitectureOptions, {"attention_levels": (4,)}, "--attention-levels"),
        (ArchitectureOptions, {"dropout": 1.0}, "--dropout"),
        (ArchitectureOptions, {"layers_per_block": 0}, "--layers-per-block"),
        (NoiseScheduleOptions, {"num_train_timesteps": 1}, "--num-train-timesteps"),
        (OptimisationOptions, {"epochs": 0}, "--epochs"),
        (OptimisationOptions, {"steps": 0}, "--steps"),
        (OptimisationOptions, {"batch_size": 0}, "--batch-size"),
        (OptimisationOptions, {"learning_rate": float("nan")}, "--learning-rate"),
        (OptimisationOptions, {"gradient_clip": 0.0}, "--gradient-clip"),
        (OptimisationOptions, {"warmup_fraction": 1.5}, "--warmup-fraction"),
        (OptimisationOptions, {"ema_decay": 1.0}, "--ema-decay"),
    ],
)
def test_unsupported_option_is_refused_by_its_flag(options, changes, flag):
    with pytest.raises(ConfigurationError, match=flag):
        options(**changes)


def test_default_architecture_is_the_published_one():
    network = build_network(ArchitectureOptions(), ImageShape(3, 32, 32))
    assert isinstance(network, UNet2DModel)
    parameters = sum(weights.numel() for weights in network.parameters())
    assert parameters == 35_746_307  # google/ddpm-cifar10-32
