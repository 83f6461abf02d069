"""Running the stages again and again, and what they cost."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from dtrak_stream.benchmark.main_job.commands import Cost, measure_command
from dtrak_stream.benchmark.main_job.options import MainJobConfig
from dtrak_stream.benchmark.main_job.self_check import check_on_itself
from dtrak_stream.benchmark.main_job.stages import Stage, features_for, imports_command, stages_of
from dtrak_stream.benchmark.main_job.tables import as_markdown
from dtrak_stream.benchmark.results import BenchmarkResult, machine, write_results
from dtrak_stream.store import read_layout
from dtrak_stream.support.memory import format_size
from dtrak_stream.support.progress import progress, say


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
