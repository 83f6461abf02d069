"""Running the stages again and again, and what they cost."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from dtrak_stream.benchmark.main_job.options import MainJobConfig
from dtrak_stream.benchmark.main_job.self_check import check_on_itself
from dtrak_stream.benchmark.main_job.stages import (
    Cost,
    Stage,
    features_for,
    imports_command,
    measure_command,
    stages_of,
)
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.report.histograms import unsigned
from dtrak_stream.store.layout import read_layout
from dtrak_stream.support.memory import format_size
from dtrak_stream.support.progress import progress, say

_STAGE_HEADINGS = (
    "stage",
    "images",
    "wall, s",
    "start and imports, s",
    "work, s",
    "images/s of work",
    "peak memory",
    "memory after imports",
)
_CHECK_HEADINGS = ("self-check", "output function", "queries", "top-1", "top-10")


@dataclass(frozen=True)
class StageRun:
    """One run of one stage.

    Attributes
    ----------
    stage
        What was run.
    whole
        Cost of the process.
    imports
        Cost of a process that only starts and imports what the stage's command imports.
    """

    stage: Stage
    whole: Cost
    imports: Cost

    @property
    def work_seconds(self) -> float:
        """Return the time beyond start and imports."""
        return self.whole.seconds - self.imports.seconds


def measure_main_job(config: MainJobConfig) -> BenchmarkResult:
    """Measure every stage and check the scores; see `MainJobConfig`.

    Raises
    ------
    InputError
        If a stage fails.
    DtrakStreamError
        If an option or a source is refused.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    features = features_for(config, config.score_options.method)
    config = dataclasses.replace(config, features=features)
    with tempfile.TemporaryDirectory(prefix="main-job-") as temporary:
        root = Path(temporary)
        repeats = _run_all(config, root)
        train = repeats[-1][0].stage.config.store
        numbers = {
            "benchmark": "main-job",
            "stages": [_stage_numbers(runs) for runs in zip(*repeats, strict=True)],
            "total": _total_numbers(repeats),
            "store": _store_numbers(train),
            "self_check": [
                dataclasses.asdict(check)
                for check in check_on_itself(config, train, root / "self-check")
            ],
        }
    return write_results(config.out, config, measured_on, numbers, as_markdown(numbers, config))


def _run_all(config: MainJobConfig, root: Path) -> list[list[StageRun]]:
    """Run all stages `repeats` times, side by side: once each, then once more each."""
    jobs = [stages_of(config, root / f"run-{repeat}") for repeat in range(config.repeats)]
    repeats = []
    with progress(
        sum(map(len, jobs)), description="main job", unit="stage", visible=not config.quiet
    ) as bar:
        for number, stages in enumerate(jobs, start=1):
            say(f"run {number} of {config.repeats}")
            imports: dict[str, Cost] = {}
            runs = []
            for stage in stages:
                runs.append(_run_stage(stage, imports, root / f"run-{number}-options"))
                bar.update()
            repeats.append(runs)
    return repeats


def _run_stage(stage: Stage, imports: dict[str, Cost], options: Path) -> StageRun:
    if stage.tool not in imports:
        imports[stage.tool] = measure_command(imports_command(stage.tool))
    whole = measure_command(stage.command(options / f"{stage.name}.yaml"))
    run = StageRun(stage, whole, imports[stage.tool])
    say(
        f"  {stage.name}: {whole.seconds:.2f} s, without start and imports "
        f"{run.work_seconds:.2f} s; peak {format_size(whole.peak_bytes)}"
    )
    return run


def _stage_numbers(runs: tuple[StageRun, ...]) -> dict[str, Any]:
    """Return the medians of the runs of one stage, and the runs."""
    stage = runs[0].stage
    work = median(run.work_seconds for run in runs)
    return {
        "stage": stage.name,
        "tool": stage.tool,
        "images": stage.images,
        "wall_seconds": median(run.whole.seconds for run in runs),
        "import_seconds": median(run.imports.seconds for run in runs),
        "work_seconds": work,
        # work too short to tell from the spread of start and imports has no rate
        "images_per_second": stage.images / work if work > 0 else None,
        "peak_bytes": median(run.whole.peak_bytes for run in runs),
        "import_peak_bytes": median(run.imports.peak_bytes for run in runs),
        "runs": [
            {"whole": dataclasses.asdict(run.whole), "imports": dataclasses.asdict(run.imports)}
            for run in runs
        ],
    }


def _total_numbers(repeats: list[list[StageRun]]) -> dict[str, Any]:
    return {
        "wall_seconds": median(sum(run.whole.seconds for run in runs) for runs in repeats),
        "import_seconds": median(sum(run.imports.seconds for run in runs) for runs in repeats),
        "work_seconds": median(sum(run.work_seconds for run in runs) for runs in repeats),
        "peak_bytes": median(max(run.whole.peak_bytes for run in runs) for runs in repeats),
    }


def _store_numbers(root: Path) -> dict[str, Any]:
    layout = read_layout(root)
    sizes = {path: path.stat().st_size for path in root.rglob("*") if path.is_file()}
    shards = sum(size for path, size in sizes.items() if path.parent == layout.shards_folder)
    rows = layout.fingerprint.samples
    return {
        "images": rows,
        "proj_dim": layout.fingerprint.proj_dim,
        "dtype": layout.fingerprint.dtype,
        "shard_bytes_per_image": shards / rows,
        "other_bytes_per_image": (sum(sizes.values()) - shards) / rows,
        "bytes_per_image": sum(sizes.values()) / rows,
        "bytes": sum(sizes.values()),
    }


def as_markdown(numbers: dict[str, Any], config: MainJobConfig) -> str:
    """Return title, table of stages, size of the store and table of the self-check."""
    rows = [_stage_row(stage) for stage in numbers["stages"]] + [_total_row(numbers["total"])]
    parts = [
        "# Main job, stage by stage",
        f"{config.score_options.method}: {config.train} explains {config.query}, timesteps "
        f"{config.features.timesteps}, {config.features.projector or 'sketch'} to k = "
        f"{numbers['store']['proj_dim']:,}; every stage in a process of its own; "
        f"medians of {config.repeats} runs.",
        table(_STAGE_HEADINGS, rows),
        _store_line(numbers["store"]),
    ]
    if numbers["self_check"]:
        parts.append(table(_CHECK_HEADINGS, [_check_row(c) for c in numbers["self_check"]]))
    return "\n\n".join(parts)


def _stage_row(stage: dict[str, Any]) -> list[str]:
    rate = stage["images_per_second"]
    return [
        stage["stage"],
        f"{stage['images']:,}",
        f"{stage['wall_seconds']:.2f}",
        f"{stage['import_seconds']:.2f}",
        f"{stage['work_seconds']:.2f}",
        "–" if rate is None else unsigned(rate),
        format_size(stage["peak_bytes"]),
        format_size(stage["import_peak_bytes"]),
    ]


def _total_row(total: dict[str, Any]) -> list[str]:
    seconds = [f"{total[f'{part}_seconds']:.2f}" for part in ("wall", "import", "work")]
    return ["all", "", *seconds, "", format_size(total["peak_bytes"]), ""]


def _store_line(store: dict[str, Any]) -> str:
    return (
        f"Store of the training images on disk ({store['dtype']}): "
        f"{store['bytes_per_image']:,.0f} bytes an image, "
        f"{store['shard_bytes_per_image']:,.0f} of them in shards and "
        f"{store['other_bytes_per_image']:,.0f} in the rest."
    )


def _check_row(check: dict[str, Any]) -> list[str]:
    squared = ", squared" if check["transform"] == "square" else ""
    return [
        f"{check['method']}{squared}",
        check["output_function"],
        f"{check['queries']:,}",
        f"{check['top_1_share']:.1%}",
        f"{check['top_10_share']:.1%}",
    ]
