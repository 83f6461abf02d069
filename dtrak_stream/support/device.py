"""Where a model runs."""

from __future__ import annotations

import torch

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
