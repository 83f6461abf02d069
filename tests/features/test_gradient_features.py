"""What a store of gradients is known by."""

from types import SimpleNamespace
from typing import Any

import torch

from dtrak_stream.features.gradient_features import _identity
from dtrak_stream.features.options import FeatureOptions


def identity_of(**parameters: torch.Tensor) -> dict[str, object]:
    """Return what is known of gradients of these, whatever network they are of."""
    network, projector = torch.nn.Module(), SimpleNamespace(name="sketch", version=1, proj_dim=64)
    denoiser = SimpleNamespace(identity="model", network=network, image_shape="1x8x8")
    task: Any = SimpleNamespace(
        denoiser=denoiser, parameters=parameters, num_parameters=6, timesteps=(0, 500)
    )
    made: Any = projector
    return _identity(task, made, FeatureOptions())


def test_names_shapes_and_order_of_parameters_tell_gradients_apart():
    first, second = torch.zeros(2, 3), torch.zeros(6)
    others = [
        identity_of(renamed=first, bias=second),
        identity_of(weight=first.T, bias=second),
        identity_of(bias=second, weight=first),
    ]
    ours = identity_of(weight=first, bias=second)
    assert len({each["parameters"] for each in (ours, *others)}) == 4
    assert identity_of(weight=first + 1, bias=second) == ours  # their numbers are in `weights`
