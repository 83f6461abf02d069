"""Measuring featurizing: models one after the other, then projectors, then files."""

from __future__ import annotations

import dataclasses
from typing import Any

from dtrak_stream.benchmark.featurize.measure import measure_ways
from dtrak_stream.benchmark.featurize.options import FeaturizeBenchConfig
from dtrak_stream.benchmark.featurize.projecting import measure_projecting
from dtrak_stream.benchmark.featurize.tables import as_markdown
from dtrak_stream.benchmark.results import BenchmarkResult, machine, write_results
from dtrak_stream.support.device import choose_device


def measure_featurize(config: FeaturizeBenchConfig) -> BenchmarkResult:
    """Measure featurizing side by side with other ways; see `FeaturizeBenchConfig`.

    Raises
    ------
    DtrakStreamError
        If an option is refused, or a process whose memory is measured fails.
    """
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
