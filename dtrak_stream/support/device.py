"""Where a model runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dtrak_stream.errors import ConfigurationError


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is the first GPU, or the CPU without one.

    Raises
    ------
    ConfigurationError
        If there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigurationError(
            f"no such device here ({str(error).splitlines()[0]})",
            where=f"--device {name}",
            remedy="use auto, cpu, or cuda on a machine with an NVIDIA GPU",
        ) from error
    return device


def on_device(numbers: Sequence[object], device: torch.device) -> Tensor:
    """Return whole numbers of the host as an int64 tensor on a device; see `moved`."""
    return moved(torch.tensor(numbers, dtype=torch.int64), device)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on a device, without waiting for the device.

    To a GPU it goes through pinned memory: a copy from any other is done only when everything
    that the GPU was told before is.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=tensor.device.type == "cpu")
