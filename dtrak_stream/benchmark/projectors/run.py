"""Measuring projectors: vectors, errors, times, files."""

from __future__ import annotations

import dataclasses
from typing import Any

from dtrak_stream.benchmark.projectors.accuracy import measure_accuracy
from dtrak_stream.benchmark.projectors.options import ProjectorsConfig
from dtrak_stream.benchmark.projectors.speed import measure_speed
from dtrak_stream.benchmark.projectors.vectors import make_vectors
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.report.histograms import signed, unsigned
from dtrak_stream.support.progress import say

_ACCURACY_HEADINGS = (
    "projector and vectors",
    "k",
    "RMS error",
    "theory, dense",
    "theory, this one",
    "RMS / theory",
    "mean error",
    "seeds x pairs",
)
_SPEED_HEADINGS = (
    "projector",
    "k",
    "ms a gradient",
    "ms to read it",
    "projecting / reading",
    "ms a gradient, first batch",
)


def measure_projectors(config: ProjectorsConfig) -> BenchmarkResult:
    """Measure error and speed of the random projections; see `ProjectorsConfig`.

    Raises
    ------
    DtrakStreamError
        If an option, the model or the images are refused.
    """
    refuse_other_results(config.out, config)
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


def as_markdown(numbers: dict[str, Any]) -> str:
    """Return title, table of errors and table of times."""
    return "\n\n".join(
        [
            "# Random projections",
            f"Error of inner products, (<Px, Py> - <x, y>) / (|x| |y|), p = "
            f"{numbers['num_parameters']:,}. After ± is one standard error.",
            table(_ACCURACY_HEADINGS, [_accuracy_row(each) for each in numbers["accuracy"]]),
            f"Time of one gradient of that length in a batch of {numbers['rows']:,}, next to one "
            "read (a sum) of the same batch.",
            table(_SPEED_HEADINGS, [_speed_row(each) for each in numbers["speed"]]),
        ]
    )


def _accuracy_row(found: dict[str, Any]) -> list[str]:
    of_ratio = found["rms_standard_error"] / found["theory"]
    return [
        f"{found['projector']}, {found['vectors']}",
        f"{found['proj_dim']:,}",
        f"{found['rms']:.5f}",
        f"{found['dense_theory']:.5f}",
        f"{found['theory']:.5f}",
        f"{found['rms_over_theory']:.3f} ± {of_ratio:.3f}",
        f"{signed(found['mean'])} ± {unsigned(found['mean_standard_error'])}",
        f"{found['seeds']:,} x {found['pairs']:,}",
    ]


def _speed_row(speed: dict[str, Any]) -> list[str]:
    return [
        speed["projector"],
        f"{speed['proj_dim']:,}",
        unsigned(1e3 * speed["seconds"]),
        unsigned(1e3 * speed["read_seconds"]),
        unsigned(speed["ratio"]),
        unsigned(1e3 * speed["first_seconds"]),
    ]
