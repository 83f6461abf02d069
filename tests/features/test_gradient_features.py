"""What a store of gradients is known by."""

from types import SimpleNamespace
from typing import Any

import torch

from dtrak_stream.features.gradient_features import identity_of
from dtrak_stream.features.options import FeatureOptions


def identity_with(**parameters: torch.Tensor) -> dict[str, object]:
    """Return what is known of gradients of these, whatever network they are of."""
    network, projector = torch.nn.Module(), SimpleNamespace(name="sketch", version=1, proj_dim=64)
    denoiser = SimpleNamespace(identity="model", network=network, image_shape="1x8x8")
    task: Any = SimpleNamespace(
        denoiser=denoiser,
        parameters=parameters,
        num_parameters=6,
        timesteps=(0, 500),
        noise_draws=1,
    )
    made: Any = projector
    return identity_of(task, made, FeatureOptions())


def test_names_shapes_and_order_of_parameters_tell_gradients_apart():
    first, second = torch.zeros(2, 3), torch.zeros(6)
    others = [
        identity_with(renamed=first, bias=second),
        identity_with(weight=first.T, bias=second),
        identity_with(bias=second, weight=first),
    ]
    ours = identity_with(weight=first, bias=second)
    assert len({each["parameters"] for each in (ours, *others)}) == 4
    assert identity_with(weight=first + 1, bias=second) == ours  # their numbers are in `weights`
