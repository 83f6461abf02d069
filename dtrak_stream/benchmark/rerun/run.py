"""Running the main job to its end, and then again and again."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from dtrak_stream.attribution.configuration import AttributeConfig
from dtrak_stream.benchmark.main_job.stages import Cost, imports_command, measure_command
from dtrak_stream.benchmark.rerun.images import save_array, save_folder
from dtrak_stream.benchmark.rerun.options import RerunConfig, SourceKind
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.scoring.options import ScoreOptions
from dtrak_stream.support.progress import say
from dtrak_stream.support.provenance import record_run

_QUERIES = "sklearn:digits[:16]"
_HEADINGS = (
    "images as",
    "first run, s",
    "imports alone, s",
    "finished run again, s",
    "difference, s",
    "difference in CPU time, s",
    "files written",
)


@dataclass
class Finished:
    """A run of the main job that is finished, and what it cost to start it again.

    Attributes
    ----------
    source
        How its training images lie.
    run
        Its folder.
    command
        What started it.
    first
        What that cost; None if it was begun before.
    imports, again
        Pairs of one process that only imports, and one of the command.
    """

    source: SourceKind
    run: Path
    command: list[str]
    first: Cost | None
    imports: list[Cost] = field(default_factory=list)
    again: list[Cost] = field(default_factory=list)
    written: int = 0

    def numbers(self) -> dict[str, Any]:
        """Return medians, and what they are the medians of."""
        pairs = list(zip(self.imports, self.again, strict=True))
        return {
            "source": self.source,
            "first_seconds": self.first.seconds if self.first else None,
            "import_seconds": median(cost.seconds for cost in self.imports),
            "again_seconds": median(cost.seconds for cost in self.again),
            "difference_seconds": median(b.seconds - a.seconds for a, b in pairs),
            "difference_cpu_seconds": median(b.cpu_seconds - a.cpu_seconds for a, b in pairs),
            "files_written": self.written,
            "runs": [{"imports": asdict(a), "again": asdict(b)} for a, b in pairs],
        }


def measure_rerun(config: RerunConfig) -> BenchmarkResult:
    """Measure what a finished run costs; see `RerunConfig`.

    Raises
    ------
    InputError
        If a run fails.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    with ExitStack() as stack:
        work = config.work
        if work is None:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rerun-")))
        work.mkdir(parents=True, exist_ok=True)
        runs = [_finish(config, source, work) for source in config.sources]
        for number in range(config.repeats):
            say(f"again, {number + 1} of {config.repeats}")
            for run in runs:
                _start_again(run)
    numbers: dict[str, Any] = {"benchmark": "rerun", "sources": [run.numbers() for run in runs]}
    page = _as_markdown(config, numbers["sources"])
    return write_results(config.out, config, measured_on, numbers, page)


def _finish(config: RerunConfig, source: SourceKind, work: Path) -> Finished:
    """Make the images and run the main job on them to its end."""
    if source == "folder":
        train = save_folder(work / "images", config.images, visible=not config.quiet)
    else:
        train = save_array(work / "images.npy", config.images)
    run = work / f"run-{source}"
    command = _command(config, train, run, work / f"{source}.yaml")
    is_new = not run.exists()
    say(f"the main job on {config.images:,} images as {source}")
    first = measure_command(command)
    return Finished(source, run, command, first if is_new else None)


def _command(config: RerunConfig, train: Path, run: Path, options: Path) -> list[str]:
    job = AttributeConfig(
        train=str(train),
        query=_QUERIES,
        run=run,
        features=FeatureOptions(timesteps=config.timesteps, proj_dim=config.proj_dim),
        score_options=ScoreOptions(method=config.method),
        quiet=True,
    )
    record_run(options, job)
    return [sys.executable, "-m", "dtrak_stream", "attribute", "--config", str(options)]


def _start_again(run: Finished) -> None:
    before = _written_at(run.run)
    run.imports.append(measure_command(imports_command("attribute")))
    run.again.append(measure_command(run.command))
    after = _written_at(run.run)
    run.written += sum(before.get(name) != at for name, at in after.items())


def _written_at(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return what changes of a file when it is written again: its inode and its time."""
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def _as_markdown(config: RerunConfig, sources: list[dict[str, Any]]) -> str:
    return "\n\n".join(
        (
            "# A finished main job, started again",
            f"{config.images:,} training images of 8x8, {config.method} at {config.timesteps} "
            f"timestep(s), k = {config.proj_dim:,}. The command and a process that only imports "
            f"what it imports took turns, {config.repeats} times each; medians, and the median of "
            "the differences within a turn.",
            table(_HEADINGS, [_row(source) for source in sources]),
        )
    )


def _row(source: dict[str, Any]) -> list[str]:
    first = source["first_seconds"]
    return [
        source["source"],
        "–" if first is None else f"{first:.0f}",
        f"{source['import_seconds']:.2f}",
        f"{source['again_seconds']:.2f}",
        f"{source['difference_seconds']:+.2f}",
        f"{source['difference_cpu_seconds']:+.2f}",
        str(source["files_written"]),
    ]
