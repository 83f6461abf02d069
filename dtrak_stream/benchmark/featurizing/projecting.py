"""Projecting one batch: our projectors next to those of other packages, where installed."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from dtrak_stream.benchmark.featurizing.options import FeaturizeBenchConfig
from dtrak_stream.projectors.projector import Projector
from dtrak_stream.projectors.table import RANDOM_PROJECTORS, make_projector
from dtrak_stream.support.progress import progress, say

_Project = Callable[[Tensor], Tensor]
_DENSE = ("rademacher", "normal")


@dataclass(frozen=True)
class ProjectingResult:
    """Time of projecting one batch.

    Attributes
    ----------
    projector
        Package and name.
    rows, num_parameters, proj_dim
        A batch (rows, num_parameters) projected to (rows, proj_dim).
    seconds
        Time for the batch, the matrix generated anew: the median.
    """

    projector: str
    rows: int
    num_parameters: int
    proj_dim: int
    seconds: float


def measure_projecting(
    config: FeaturizeBenchConfig, device: torch.device
) -> tuple[list[ProjectingResult], list[str]]:
    """Return the times of all projectors, and why some could not be measured."""
    rows, length = config.projected_rows, config.projected_parameters
    if length == 0:
        return [], []
    ours = [
        (f"ours, {name}", _ours(name, length, config.proj_dim, device))
        for name in RANDOM_PROJECTORS
    ]
    others, missing = _others(length, config.proj_dim, device)
    for line in missing:
        say(line)
    block = torch.randn(rows, length, generator=torch.Generator().manual_seed(0)).to(device)
    turns: dict[str, list[float]] = {}
    # dense matrices take seconds to minutes: three turns say enough
    rounds = min(3, config.repeats)
    with progress(
        rounds * (len(ours) + len(others)),
        description="projecting",
        unit="batch",
        visible=not config.quiet,
    ) as bar:
        for _ in range(rounds):
            for name, project in [*ours, *others]:
                turns.setdefault(name, []).append(_seconds(project, block))
                bar.update()
    return [
        ProjectingResult(name, rows, length, config.proj_dim, median(times))
        for name, times in turns.items()
    ], missing


def _ours(name: str, length: int, proj_dim: int, device: torch.device) -> _Project:
    projector: Projector = make_projector(name, proj_dim=proj_dim, seed=0, num_parameters=length)

    def project(block: Tensor) -> Tensor:
        out = torch.zeros(len(block), proj_dim, device=device)
        projector.add(block, 0, out)
        return out

    return project


def _others(
    length: int, proj_dim: int, device: torch.device
) -> tuple[list[tuple[str, _Project]], list[str]]:
    """Return the dense projectors of traker and dattri that work here, and why some do not."""
    found: list[tuple[str, _Project]] = []
    missing = []
    for package, module in (("traker", "trak.projectors"), ("dattri", "dattri.func.projection")):
        for kind in _DENSE:
            name = f"{package} BasicProjector, {kind}"
            try:
                loaded = importlib.import_module(module)
                projector = loaded.BasicProjector(
                    length, proj_dim, 0, loaded.ProjectionType(kind), device
                )
            except Exception as error:  # their imports and constructors raise anything
                missing.append(f"{name} is left out: {type(error).__name__}: {error}")
                continue
            found.append((name, _projection_of(projector)))
    return found, missing


def _projection_of(projector: Any) -> _Project:
    return lambda block: projector.project(block, 0)


def _seconds(project: _Project, block: Tensor) -> float:
    copy = block.clone()  # ours may overwrite what they are given
    begin = time.perf_counter()
    project(copy)
    if block.is_cuda:
        torch.cuda.synchronize(block.device)
    return time.perf_counter() - begin
