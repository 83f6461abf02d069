"""Measuring listing: many empty files, listed by a process of its own, removed again."""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dtrak_stream.benchmark.listing.options import Layout, ListingConfig
from dtrak_stream.benchmark.made_folder import made_folder
from dtrak_stream.benchmark.own_process import answer_of
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.data.folder import FolderSource
from dtrak_stream.support.memory import format_size, peak_memory
from dtrak_stream.support.progress import progress


@dataclass(frozen=True)
class Listed:
    """What listing one folder took.

    Attributes
    ----------
    layout
        How the files lie.
    seconds
        Median time of listing and ordering all names.
    grown_bytes
        How much the peak memory of the process grew by it.
    """

    layout: Layout
    seconds: float
    grown_bytes: int


def measure_listing(config: ListingConfig) -> BenchmarkResult:
    """Measure time and memory of listing; see `ListingConfig`.

    Raises
    ------
    MeasuringFailedError
        If a process that lists fails, with the end of what it printed.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    found = [_measure(config, layout) for layout in config.layouts]
    numbers: dict[str, Any] = {
        "benchmark": "listing",
        "names": config.names,
        "layouts": [asdict(each) for each in found],
    }
    return write_results(config.out, config, measured_on, numbers, _as_markdown(config, found))


def _measure(config: ListingConfig, layout: Layout) -> Listed:
    with made_folder("listing-", config.work) as folder:
        _make_files(folder, config, layout)
        where, remedy = f"listing, {layout}", "free memory, or take fewer --names"
        runs = [
            answer_of(__name__, str(folder), where=where, remedy=remedy)
            for _ in range(config.repeats)
        ]
    return Listed(
        layout,
        statistics.median(run["seconds"] for run in runs),
        max(run["grown_bytes"] for run in runs),
    )


def _make_files(folder: Path, config: ListingConfig, layout: Layout) -> None:
    """Make the files in a random order: a file system may list them as they were made."""
    numbers = list(range(config.names))
    random.Random(0).shuffle(numbers)
    with progress(
        config.names, description=f"making files, {layout}", unit="file", visible=not config.quiet
    ) as bar:
        for number in numbers:
            inside = folder
            if layout == "folders":
                inside = folder / f"part-{number // config.per_folder}"
                inside.mkdir(exist_ok=True)
            os.close(os.open(inside / f"image_{number}.png", os.O_CREAT | os.O_WRONLY))
            bar.update()


def _as_markdown(config: ListingConfig, found: list[Listed]) -> str:
    rows = [
        [
            each.layout,
            f"{each.seconds:.1f}",
            f"{each.seconds / config.names * 1e6:.0f}",
            format_size(each.grown_bytes),
        ]
        for each in found
    ]
    headings = ["layout", "s", "µs a name", "memory"]
    return f"# Listing {config.names:,} names\n\n{table(headings, rows)}"


def main(folder: Path) -> None:
    """List a folder and print what it took, as JSON."""
    before, begin = peak_memory(), time.perf_counter()
    FolderSource(folder)
    seconds = time.perf_counter() - begin
    answer = {"seconds": seconds, "grown_bytes": peak_memory() - before}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(Path(json.loads(sys.argv[1])))
