"""Time to project a batch of gradients, next to the time to read it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from dtrak_stream.benchmark.projectors.options import ProjectorKind, ProjectorsConfig
from dtrak_stream.benchmark.projectors.vectors import UnitVectors
from dtrak_stream.projectors.projector import Projector
from dtrak_stream.projectors.table import make_projector
from dtrak_stream.support.progress import progress, say


@dataclass(frozen=True)
class Speed:
    """Time of one gradient in a batch.

    Attributes
    ----------
    projector, proj_dim, rows, num_parameters
        A batch (rows, num_parameters) projected to (rows, proj_dim).
    repeats
        Number of times it was read and projected.
    seconds, read_seconds
        Time for each gradient to be projected, and to be read (summed): medians.
    ratio
        Projecting over reading.
    first_seconds
        Time for each gradient the first time, when the sketch has no signs at hand.
    """

    projector: str
    proj_dim: int
    rows: int
    num_parameters: int
    repeats: int
    seconds: float
    read_seconds: float
    ratio: float
    first_seconds: float


def measure_speed(config: ProjectorsConfig, vectors: UnitVectors) -> list[Speed]:
    """Return the speed of every projector and k on one batch of vectors."""
    found = []
    total = len(config.cases()) * config.repeats
    with progress(total, description="speed", unit="batch", visible=not config.quiet) as bar:
        for projector, proj_dim in config.cases():
            speed = _speed(projector, proj_dim, vectors, config.repeats, bar.update)
            say(
                f"{projector}, k = {proj_dim:,}: {1e3 * speed.seconds:.3g} ms a gradient, "
                f"{speed.ratio:,.3g} times one read"
            )
            found.append(speed)
    return found


def _speed(
    name: ProjectorKind,
    proj_dim: int,
    vectors: UnitVectors,
    repeats: int,
    advance: Callable[[], object],
) -> Speed:
    length = vectors.num_parameters
    projector = make_projector(name, proj_dim=proj_dim, seed=0, num_parameters=length)
    times = []
    for _ in range(repeats):
        times.append(_read_and_project(projector, vectors.values))
        advance()
    rows = len(vectors.values)
    read = median(read for read, _ in times) / rows
    project = median(project for _, project in times) / rows
    return Speed(
        projector=name,
        proj_dim=proj_dim,
        rows=rows,
        num_parameters=length,
        repeats=repeats,
        seconds=project,
        read_seconds=read,
        ratio=project / read,
        first_seconds=times[0][1] / rows,
    )


def _read_and_project(projector: Projector, vectors: Tensor) -> tuple[float, float]:
    """Return the seconds to read and to project one copy of `vectors` (rows, p)."""
    block = vectors.clone()
    out = torch.zeros(len(vectors), projector.proj_dim, device=vectors.device)
    read = _seconds(lambda: block.sum(), vectors.device)
    return read, _seconds(lambda: projector.add(block, 0, out), vectors.device)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    _wait_for(device)
    begin = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - begin


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
