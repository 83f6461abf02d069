"""Measuring projectors: vectors, errors, times, files."""

from __future__ import annotations

import dataclasses
from typing import Any

from dtrak_stream.benchmark.projectors.accuracy import measure_accuracy
from dtrak_stream.benchmark.projectors.options import ProjectorsConfig
from dtrak_stream.benchmark.projectors.speed import measure_speed
from dtrak_stream.benchmark.projectors.tables import as_markdown
from dtrak_stream.benchmark.projectors.vectors import make_vectors
from dtrak_stream.benchmark.results import BenchmarkResult, machine, write_results
from dtrak_stream.support.progress import say


def measure_projectors(config: ProjectorsConfig) -> BenchmarkResult:
    """Measure error and speed of the random projections; see `ProjectorsConfig`.

    Raises
    ------
    DtrakStreamError
        If an option, the model or the images are refused.
    """
    measured_on = machine()
    vectors = make_vectors(config)
    say(f"{config.rows} vectors of each kind, p = {vectors[0].num_parameters:,}")
    numbers: dict[str, Any] = {
        "benchmark": "projectors",
        "rows": config.rows,
        "num_parameters": vectors[0].num_parameters,
        "speed": [dataclasses.asdict(speed) for speed in measure_speed(config, vectors[-1])],
        "accuracy": [dataclasses.asdict(found) for found in measure_accuracy(config, vectors)],
    }
    return write_results(config.out, config, measured_on, numbers, as_markdown(numbers))
