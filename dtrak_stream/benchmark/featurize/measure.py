"""Timing of all ways on one subject, in turns, each at its best size of a pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from dtrak_stream.benchmark.featurize.options import FeaturizeBenchConfig, ModelName
from dtrak_stream.benchmark.featurize.peak import peak_of
from dtrak_stream.benchmark.featurize.subject import Subject, make_subject
from dtrak_stream.benchmark.featurize.ways import TRAINING, Way, make_way, way_names
from dtrak_stream.support.progress import progress, say


@dataclass(frozen=True)
class WayResult:
    """What one way cost on one subject.

    Attributes
    ----------
    model, num_parameters, timesteps, images
        The subject: K timesteps of so many images.
    way
        Name of the way.
    size
        (image, timestep) pairs in one pass: the fastest of those tried.
    seconds
        Time for all images: the median.
    ratio
        Median, over turns, of its time over that of the training step in the same turn.
    peak_bytes
        Peak memory of a process that does only this; 0 if not measured.
    """

    model: ModelName
    num_parameters: int
    timesteps: int
    images: int
    way: str
    size: int
    seconds: float
    ratio: float
    peak_bytes: int


def measure_ways(
    config: FeaturizeBenchConfig, model: ModelName, timesteps: int, device: torch.device
) -> list[WayResult]:
    """Return the cost of every way on one model at K timesteps."""
    subject = make_subject(model, timesteps=timesteps, pairs=config.pairs, device=device)
    names = way_names(vmap=config.vmap)
    ways = [make_way(name, subject, config.proj_dim) for name in names]
    steps = sum(len(way.sizes) + 1 for way in ways) + config.repeats * len(ways)
    title = f"{model}, K = {timesteps}"
    with progress(steps, description=title, unit="pass", visible=not config.quiet) as bar:
        sizes = [_best_size(way, device, bar.update) for way in ways]
        turns = [
            [_timed(way, size, device, bar.update) for way, size in zip(ways, sizes, strict=True)]
            for _ in range(config.repeats)
        ]
    training = names.index(TRAINING)
    found = []
    for place, (way, size) in enumerate(zip(ways, sizes, strict=True)):
        seconds = median(turn[place] for turn in turns)
        ratio = median(turn[place] / turn[training] for turn in turns)
        say(f"{title}: {way.name}, {size} pairs a pass: {seconds:.3g} s, {ratio:.2f} x training")
        peak = _peak(config, way.name, size, subject) if config.memory else 0
        found.append(_result(subject, way.name, size, seconds, ratio, peak))
    return found


def _best_size(way: Way, device: torch.device, advance: Callable[[], object]) -> int:
    """Return the fastest size, after one pass that is not counted."""
    _timed(way, way.sizes[0], device, advance)
    seconds = {size: _timed(way, size, device, advance) for size in way.sizes}
    return min(seconds, key=lambda size: seconds[size])


def _timed(way: Way, size: int, device: torch.device, advance: Callable[[], object]) -> float:
    begin = time.perf_counter()
    way.run(size)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    advance()
    return time.perf_counter() - begin


def _peak(config: FeaturizeBenchConfig, way: str, size: int, subject: Subject) -> int:
    return peak_of(
        way,
        size,
        model=subject.name,
        timesteps=len(subject.task.timesteps),
        pairs=config.pairs,
        proj_dim=config.proj_dim,
        device=str(subject.images.device),
    )


def _result(
    subject: Subject, way: str, size: int, seconds: float, ratio: float, peak: int
) -> WayResult:
    return WayResult(
        model=subject.name,
        num_parameters=subject.task.num_parameters,
        timesteps=len(subject.task.timesteps),
        images=len(subject.images),
        way=way,
        size=size,
        seconds=seconds,
        ratio=ratio,
        peak_bytes=peak,
    )
