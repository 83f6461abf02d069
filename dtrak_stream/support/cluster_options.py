"""Where the work of a command runs: this process, processes of this machine, or a Dask cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated

import tyro

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.option_values import require_number

WORKER_DEVICE = "DTRAK_STREAM_DEVICE"
"""The variable in the environment of a worker that names its device."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""The variables in the environment by which numerical libraries are told how many they take."""


@dataclass(frozen=True)
class ClusterOptions:
    """Who shares the work. What is computed does not depend on it."""

    workers: int | None = None
    """Processes of this machine that share the work (default: this one alone)."""
    devices: str | None = None
    """Devices that share the work, such as cuda:0,cuda:1: a process for each."""
    scheduler: str | None = None
    """Address of a running Dask scheduler (tcp://host:8786) whose workers share the work: they \
have this package, see the same files, and have a thread each (dask worker --nthreads 1)."""

    def __post_init__(self) -> None:
        require_number("--workers", self.workers, 1)
        count = len(self.device_names())
        if self.workers is not None and self.devices is not None and self.workers != count:
            raise ConfigurationError(
                f"there are {count} devices, and each has a process",
                where=f"--workers {self.workers} --devices {self.devices}",
                remedy="leave --workers out",
            )
        if self.scheduler is not None and (self.workers or self.devices):
            raise ConfigurationError(
                "what its workers are, and what they run on, is decided where they are started",
                where=f"--scheduler {self.scheduler}",
                remedy="leave --workers and --devices out",
            )

    def device_names(self) -> tuple[str, ...]:
        """Return the devices that are named; none where none are.

        Raises
        ------
        ConfigurationError
            If a name is missing between two commas.
        """
        if self.devices is None:
            return ()
        names = tuple(name.strip() for name in self.devices.split(","))
        if not all(names):
            raise ConfigurationError(
                "a device has no name",
                where=f"--devices {self.devices}",
                remedy="write them with commas between: cuda:0,cuda:1",
            )
        return names

    @property
    def processes(self) -> int:
        """Return how many processes of this machine share the work."""
        return len(self.device_names()) or self.workers or 1

    @property
    def is_this_process(self) -> bool:
        """Return whether this process does all the work."""
        return self.scheduler is None and self.processes == 1 and self.devices is None

    def device_here(self, device: str) -> str:
        """Return where this process computes: on the first of `--devices`, or on `--device`."""
        return next(iter(self.device_names()), device)

    def refuse_two_devices(self, device: str) -> None:
        """Refuse a device that is named by `--device` and is not the first of `--devices`.

        Raises
        ------
        ConfigurationError
            Naming both.
        """
        if device not in ("auto", self.device_here(device)):
            raise ConfigurationError(
                "the devices are named twice",
                where=f"--device {device} --devices {self.devices}",
                remedy="leave --device out",
            )


HERE = ClusterOptions()
"""This process alone."""


def threads_of_workers(workers: int, told: int) -> int:
    """Return how many threads each of some processes of this machine takes.

    `told` is what this process was told to take, by its environment; where nobody told it, they
    take all cores together.
    """
    if any(name in os.environ for name in THREADS):
        return told
    return max(1, (os.cpu_count() or 1) // max(1, workers))


def usable_cores() -> int:
    """Return how many cores this process may use."""
    mine = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(mine(0)) if mine else os.cpu_count() or 1


def own_device() -> str | None:
    """Return the device of `--devices` that this process is the worker of, if it is one."""
    return os.environ.get(WORKER_DEVICE)


ClusterFlags = Annotated[tyro.conf.OmitArgPrefixes[ClusterOptions], tyro.conf.arg(name="cluster")]
"""The same as flags without a prefix, framed as "cluster options" in help."""
