"""Measuring featurizing: models one after the other, then projectors, then files."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import torch

from dtrak_stream.benchmark.featurizing.options import FeaturizeBenchConfig, ModelName
from dtrak_stream.benchmark.featurizing.peak import peak_of
from dtrak_stream.benchmark.featurizing.projecting import measure_projecting
from dtrak_stream.benchmark.featurizing.subject import Subject, make_subject
from dtrak_stream.benchmark.featurizing.ways import (
    HOOKED_AND_SKETCH,
    TRAINING,
    Way,
    make_way,
    way_names,
)
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.report.histograms import unsigned
from dtrak_stream.support.device import choose_device
from dtrak_stream.support.memory import format_size
from dtrak_stream.support.progress import progress, say

_WAYS = (
    "model and way",
    "K",
    "images",
    "pairs a pass",
    "ms an image",
    "time / training step",
    "peak memory",
)
_PROJECTING = ("projector", "ms a gradient", "time / our sketch")


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
    make = partial(make_subject, model, timesteps=timesteps, pairs=config.pairs, device=device)
    subject, names = make(), way_names(vmap=config.vmap)
    ways = [make_way(name, subject, config.proj_dim) for name in names]
    fewer = None if config.parameters is None else make(parameters=config.parameters)
    if fewer is not None:
        way = make_way(HOOKED_AND_SKETCH, fewer, config.proj_dim)
        ways.append(replace(way, name=f"{way.name}, {config.parameters}"))
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
        of_all = way.name in names
        peak = _peak(config, way.name, size, subject) if config.memory and of_all else 0
        about = subject if of_all or fewer is None else fewer
        found.append(_result(about, way.name, size, seconds, ratio, peak))
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
        device=str(subject.task.denoiser.device),
    )


def _result(
    subject: Subject, way: str, size: int, seconds: float, ratio: float, peak: int
) -> WayResult:
    return WayResult(
        model=subject.name,
        num_parameters=subject.task.num_parameters,
        timesteps=len(subject.task.timesteps),
        images=len(subject.samples),
        way=way,
        size=size,
        seconds=seconds,
        ratio=ratio,
        peak_bytes=peak,
    )


def measure_featurize(config: FeaturizeBenchConfig) -> BenchmarkResult:
    """Measure featurizing side by side with other ways; see `FeaturizeBenchConfig`.

    Raises
    ------
    DtrakStreamError
        If an option is refused, or a process whose memory is measured fails.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    device = choose_device(config.device)
    ways = [
        dataclasses.asdict(found)
        for model in config.models
        for timesteps in config.timesteps
        for found in measure_ways(config, model, timesteps, device)
    ]
    projecting, missing = measure_projecting(config, device)
    numbers: dict[str, Any] = {
        "benchmark": "featurize",
        "repeats": config.repeats,
        "ways": ways,
        "projecting": [dataclasses.asdict(found) for found in projecting],
        "missing": missing,
    }
    return write_results(config.out, config, measured_on, numbers, as_markdown(numbers))


def as_markdown(numbers: dict[str, Any]) -> str:
    """Return title and tables."""
    parts = [
        "# Featurizing",
        "Per-sample gradients of K timesteps an image, next to one plain forward and backward pass "
        "over the same (image, timestep) pairs; medians of "
        f"{numbers['repeats']} turns. Peak memory is that of the whole process.",
        table(_WAYS, [_way_row(each) for each in numbers["ways"]]),
    ]
    if numbers["projecting"]:
        parts += [_projecting_title(numbers["projecting"][0]), _projecting(numbers["projecting"])]
    parts += [f"- {line}" for line in numbers["missing"]]
    return "\n\n".join(parts)


def _way_row(found: dict[str, Any]) -> list[str]:
    return [
        f"{found['model']} ({found['num_parameters']:,}), {found['way']}",
        str(found["timesteps"]),
        str(found["images"]),
        str(found["size"]),
        unsigned(1e3 * found["seconds"] / found["images"]),
        f"{found['ratio']:.2f}",
        format_size(found["peak_bytes"]) if found["peak_bytes"] else "",
    ]


def _projecting_title(first: dict[str, Any]) -> str:
    return (
        f"Projecting a batch of {first['rows']:,} gradients of length "
        f"{first['num_parameters']:,} to k = {first['proj_dim']:,}, dense matrices generated anew."
    )


def _projecting(results: list[dict[str, Any]]) -> str:
    sketch = results[0]["seconds"]
    return table(
        _PROJECTING,
        [
            [
                each["projector"],
                unsigned(1e3 * each["seconds"] / each["rows"]),
                f"{each['seconds'] / sketch:,.1f}",
            ]
            for each in results
        ],
    )
