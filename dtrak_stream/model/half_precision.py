"""Half precision: what a network computes in under autocast, and its frozen weights in memory.

Under autocast, torch rounds the weights of linear layers and convolutions to half precision each
time they are used. Those that are never differentiated can as well be kept rounded: every number
that is computed stays the same to the bit, in half the memory. Training scripts of LoRA keep their
base like that.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

HALF_PRECISION: Mapping[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""Name of a precision to the type that a network runs in under autocast."""

_ROUNDED_BY_AUTOCAST = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def autocast_to(
    half: torch.dtype | None, device: torch.device | str
) -> AbstractContextManager[object]:
    """Return within what a network runs in half precision; in its own if `half` is None."""
    if half is None:
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=half)


def keep_in_half(network: nn.Module, half: torch.dtype) -> None:
    """Keep the frozen weights of linear layers and convolutions in half precision.

    Everything else, normalisations and biases too, is left as it is. From then on the network
    runs only within `autocast_to` that type.

    Parameters
    ----------
    network
        Any. What wants a gradient is left as it is.
    half
        The type.
    """
    for layer in network.modules():
        if isinstance(layer, _ROUNDED_BY_AUTOCAST) and not layer.weight.requires_grad:
            layer.weight.data = layer.weight.data.to(half)


def rounded_weights(network: nn.Module) -> set[str]:
    """Return the names of the weights that autocast rounds: of linear layers and convolutions."""
    layers = network.named_modules()
    return {f"{name}.weight" for name, each in layers if isinstance(each, _ROUNDED_BY_AUTOCAST)}


def as_rounded(layer: nn.Module, given: Tensor) -> Tensor:
    """Return what a layer computes with where it is given `given`: rounded, if autocast does so."""
    kind = given.device.type
    rounds = isinstance(layer, _ROUNDED_BY_AUTOCAST) and given.is_floating_point()
    # asking about a kind of device that knows no autocast fails
    if rounds and torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return given.to(torch.get_autocast_dtype(kind))
    return given
