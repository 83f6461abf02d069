"""Measuring networks of real size: processes one after the other, then files."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from statistics import median
from typing import Any

from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.benchmark.size.options import SizeBenchConfig
from dtrak_stream.benchmark.size.ways import HOOKED, TRAINING, WayCost, WayOptions, cost_of
from dtrak_stream.report.histograms import unsigned
from dtrak_stream.support.memory import format_size
from dtrak_stream.support.progress import say

_HEADINGS = (
    "network, LoRA, precision, way",
    "s an image",
    "CPU s an image",
    "CPU s / training step",
    "peak memory",
    "memory / training step",
    "of it, loaded",
)


def measure_size(config: SizeBenchConfig) -> BenchmarkResult:
    """Measure networks of real size; see `SizeBenchConfig`.

    Raises
    ------
    DtrakStreamError
        If an option is refused, or a process that is measured fails.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    numbers: dict[str, Any] = {"benchmark": "size", "ways": list(_measured(config))}
    return write_results(config.out, config, measured_on, numbers, as_markdown(numbers))


def _measured(config: SizeBenchConfig) -> Iterator[dict[str, Any]]:
    """Measure one case after the other, each beside its training step."""
    for name, rank, precision in itertools.product(
        config.networks, config.ranks, config.precisions
    ):
        training: WayCost | None = None
        for way in (TRAINING, HOOKED):
            options = WayOptions(
                way,
                name,
                rank,
                precision,
                config.timesteps,
                config.images,
                config.latent_side,
                config.threads,
            )
            cost = cost_of(options)
            training = training or cost
            found = dataclasses.asdict(options) | dataclasses.asdict(cost)
            found["seconds_an_image"] = median(cost.seconds)
            found["cpu_seconds_an_image"] = median(cost.cpu_seconds)
            found["time_ratio"] = median(cost.cpu_seconds) / median(training.cpu_seconds)
            found["memory_ratio"] = cost.peak_bytes / training.peak_bytes
            say(f"{' '.join(_row(found))}")
            yield found


def as_markdown(numbers: dict[str, Any]) -> str:
    """Return title and tables."""
    parts = [
        "# Networks of real size",
        "Gradients of a LoRA on all attention projections, of one image at a time at all its "
        "timesteps in one pass; medians, by the clock and of the processor. Beside it a plain "
        "forward and backward pass over the same (image, timestep) pairs, which keeps the gradient "
        "of the LoRA only. Each is a process of its own, whose peak memory is told, and how much "
        "of it was there before anything was computed: the interpreter, its packages, and the "
        "weights.",
        table(_HEADINGS, [_row(each) for each in numbers["ways"]]),
    ]
    return "\n\n".join(parts)


def _row(found: dict[str, Any]) -> list[str]:
    side = f" at {found['latent_side']} x {found['latent_side']}" if found["latent_side"] else ""
    return [
        f"{found['network']} ({found['parameters'] / 1e6:,.0f}M){side}, r = {found['rank']} "
        f"({found['differentiated'] / 1e6:.1f}M), {found['precision']}, {found['way']}",
        unsigned(found["seconds_an_image"]),
        unsigned(found["cpu_seconds_an_image"]),
        f"{found['time_ratio']:.2f}",
        format_size(found["peak_bytes"]),
        f"{found['memory_ratio']:.2f}",
        format_size(found["ready_bytes"]),
    ]
