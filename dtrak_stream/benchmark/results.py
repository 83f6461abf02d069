"""What every benchmark leaves behind: its numbers as JSON and a table as Markdown."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import psutil
import torch

from dtrak_stream.support.memory import format_size
from dtrak_stream.support.own_files import Job
from dtrak_stream.support.provenance import flat_options, provenance

Run: TypeAlias = dict[str, float]
"""What was measured of one run, by name."""

_CPU_INFO = Path("/proc/cpuinfo")
_REVISION_LETTERS = 12


@dataclass(frozen=True)
class BenchmarkResult:
    """Where the results of a benchmark are.

    Attributes
    ----------
    path
        The Markdown file; the JSON file lies next to it.
    quarantined
        Always 0: a benchmark leaves no sample out by itself.
    """

    path: Path
    quarantined: int = 0


def machine() -> dict[str, Any]:
    """Return what a measurement depends on; ask before measuring, for the load of others."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "torch-threads": torch.get_num_threads(),
        "memory-bytes": psutil.virtual_memory().total,
        "gpus": gpus,
        "load-average-before": psutil.getloadavg()[0],
    }


def write_results(
    out: Path,
    config: Any,
    measured_on: dict[str, Any],
    numbers: dict[str, Any],
    markdown: str,
) -> BenchmarkResult:
    """Write `OUT.json` and `OUT.md`.

    Parameters
    ----------
    out
        Path of both files without the ending.
    config
        The configuration dataclass of the benchmark.
    measured_on
        What `machine` returned before the first measurement.
    numbers
        Everything measured.
    markdown
        Title and tables; the machine and the revision are added.
    """
    run = {"options": flat_options(config), "machine": measured_on, "provenance": provenance()}
    job, (page, data) = _job(config), _files(out)
    with contextlib.ExitStack() as files:
        content = json.dumps(numbers | run, indent=2, sort_keys=True)
        files.enter_context(job.file(data)).write_text(content + "\n")
        text = f"{markdown.strip()}\n\n{_footer(run)}\n"
        files.enter_context(job.file(page)).write_text(text, encoding="utf-8")
    return BenchmarkResult(page)


def refuse_other_results(out: Path, config: Any) -> None:
    """Refuse files in the way of `OUT.json` and `OUT.md`, but results of the same benchmark.

    Raises
    ------
    InputError
        Naming what is there instead.
    """
    for path in _files(out):
        _job(config).kind("the result of this benchmark").refuse_other(path, flag="--out")


def _job(config: Any) -> Job:
    return Job("dtrak-stream bench", type(config).__name__)


def _files(out: Path) -> tuple[Path, Path]:
    """Return the page, and the file of its numbers."""
    return out.with_name(out.name + ".md"), out.with_name(out.name + ".json")


def median_ratio(
    runs: Sequence[Run], others: Sequence[Run], number: Callable[[Run], float]
) -> float:
    """Return the median of the ratios of a number, of runs to those beside them in each turn."""
    pairs = zip(runs, others, strict=True)
    return median(number(one) / number(other) for one, other in pairs)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first column is words and whose others are numbers."""
    rule = [":--"] + ["--:"] * (len(headings) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (headings, rule, *rows))


def _footer(run: dict[str, Any]) -> str:
    on, made_by = run["machine"], run["provenance"]
    parts = [
        on["cpu"],
        *on["gpus"],
        f"{on['cores']} cores",
        f"{on['torch-threads']} torch threads",
        f"{format_size(on['memory-bytes'])} of memory",
        f"load before: {on['load-average-before']:.2f}",
        f"torch {made_by['packages']['torch']}",
        f"revision {(made_by['git-revision'] or 'unknown')[:_REVISION_LETTERS]}",
    ]
    return f"Measured on: {', '.join(parts)}."


def _cpu_model() -> str:
    lines = _CPU_INFO.read_text().splitlines() if _CPU_INFO.is_file() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()
