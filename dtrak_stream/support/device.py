"""Where a model runs."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

import torch
from torch import Tensor

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.memory import peak_memory, usable_memory


def choose_device(name: str, *, flag: str = "--device") -> torch.device:
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
            where=f"{flag} {name}",
            remedy="use auto, cpu, or cuda on a machine with an NVIDIA GPU",
        ) from error
    return device


def require_devices(names: Sequence[str]) -> None:
    """Refuse devices that are not here; of a GPU, no memory is taken to find out.

    Raises
    ------
    ConfigurationError
        Naming the first.
    """
    for name in names:
        kind, _, number = name.partition(":")
        if kind != "cuda" or not number.isdecimal():
            choose_device(name, flag="--devices")
        elif int(number) >= torch.cuda.device_count():
            raise ConfigurationError(
                f"there are {torch.cuda.device_count()} GPUs here",
                where=f"--devices {name}",
                remedy="name those that are here, the first one cuda:0",
            )


def device_of_products(name: str, *, tf32: bool) -> torch.device:
    """Return where matrices are multiplied: the device called `name`; see `choose_device`.

    Raises
    ------
    ConfigurationError
        If there is no such device here, or it cannot cut factors to 11 bits as `tf32` asks for.
    """
    device = choose_device(name)
    if tf32 and device.type != "cuda":
        raise ConfigurationError(
            f"there is no TF32 on {device.type}",
            where="--tf32",
            remedy="leave it out, or use --device cuda on a machine with an NVIDIA GPU",
        )
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


def device_name(device: torch.device) -> str:
    """Return what a device is, for records: `cpu`, or a GPU by the name its maker gave it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type


def free_memory(device: torch.device) -> int:
    """Return how many bytes a stage may plan with on a device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # what torch keeps of earlier stages, the driver counts as taken
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free) + kept
    return usable_memory()


def let_go(error: BaseException, device: torch.device) -> None:
    """Free what a computation held on a device that an error has ended.

    The frames that the error went through keep their tensors for as long as it is looked at.
    """
    traceback.clear_frames(error.__traceback__)
    if device.type == "cuda":
        torch.cuda.empty_cache()


def peak_memory_on(device: torch.device) -> int:
    """Return the most bytes that this process ever had on a device."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_memory()
