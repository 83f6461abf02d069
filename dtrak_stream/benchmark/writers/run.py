"""Filling the same store again and again, by one process and by several."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

import xxhash

from dtrak_stream.benchmark.made_folder import made_folder
from dtrak_stream.benchmark.main_job.stages import imports_command
from dtrak_stream.benchmark.own_process import one_thread
from dtrak_stream.benchmark.rerun.images import save_array
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    Run,
    machine,
    median_ratio,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.benchmark.writers.options import WritersConfig
from dtrak_stream.errors import InputError
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import ExecutionOptions, FeaturizeConfig
from dtrak_stream.support.progress import say
from dtrak_stream.support.provenance import record_run

_EXECUTION = ExecutionOptions(engine="hooked", batch_size=128)  # measuring it would be a part
_HEADINGS = ("processes", "start and imports, s", "whole, s", "of one process", "work", "of one")


def measure_writers(config: WritersConfig) -> BenchmarkResult:
    """Measure what several writers of a store gain; see `WritersConfig`.

    Raises
    ------
    InputError
        If a process fails, or a store of several writers is another than that of one.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    counts = (1, config.writers)
    runs: dict[int, list[Run]] = {count: [] for count in counts}
    with made_folder("writers-", config.work) as folder:
        images = save_array(folder / "images.npy", config.images)
        job = _job(config, images, folder / "store")
        record_run(folder / "job.yaml", job)
        command = [sys.executable, "-m", "dtrak_stream", "featurize", "--config"]
        command.append(str(folder / "job.yaml"))
        shards: dict[str, str] | None = None
        for _ in range(config.repeats):
            for count in counts:
                imports = run_together([imports_command("featurize")] * count)
                whole = run_together([command] * count)
                runs[count].append({"imports": imports, "whole": whole})
                say(f"{count} at once: {whole:.1f} s, of these {imports:.1f} s start and imports")
                found = _hashes(job.store)
                shards = found if shards is None else shards
                _refuse_other_shards(shards, found, count)
                shutil.rmtree(job.store)
    numbers: dict[str, Any] = {
        "benchmark": "writers",
        "ways": [_numbers(n, runs[n], runs[1]) for n in counts],
    }
    page = _as_markdown(config, numbers["ways"])
    return write_results(config.out, config, measured_on, numbers, page)


def run_together(commands: Sequence[Sequence[str]]) -> float:
    """Run commands side by side, on one thread each; return the seconds until all have ended.

    Raises
    ------
    InputError
        If one fails, with the end of what it printed.
    """
    environment, begin = one_thread(), time.perf_counter()
    processes = [
        subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
        )
        for command in commands
    ]
    try:
        told = [process.communicate()[1] for process in processes]
    except BaseException:
        for process in processes:
            process.terminate()
            process.wait()
        raise
    seconds = time.perf_counter() - begin
    for process, text in zip(processes, told, strict=True):
        if process.returncode:
            raise InputError(
                f"ended with exit code {process.returncode} ({text.strip()[-300:]})",
                where=" ".join(commands[0][1:]),
                remedy="change what it says",
            )
    return seconds


def _job(config: WritersConfig, images: Path, store: Path) -> FeaturizeConfig:
    features = FeatureOptions(
        timesteps=config.timesteps,
        proj_dim=config.proj_dim,
        rows_per_shard=config.rows_per_shard,
        device="cpu",
    )
    return FeaturizeConfig(
        images=str(images), store=store, features=features, execution=_EXECUTION, quiet=True
    )


def _hashes(store: Path) -> dict[str, str]:
    return {
        path.name: xxhash.xxh3_128_hexdigest(path.read_bytes())
        for path in sorted((store / "shards").iterdir())
    }


def _refuse_other_shards(wanted: dict[str, str], found: dict[str, str], count: int) -> None:
    if found != wanted:
        raise InputError(
            f"a store of {count} writers is another than the first one",
            where="bench writers",
            remedy="report it",
        )


def _numbers(count: int, runs: list[Run], of_one: list[Run]) -> dict[str, Any]:
    """Return medians of one way, and the medians of its ratios to one process within a turn."""
    return {
        "writers": count,
        "import_seconds": median(run["imports"] for run in runs),
        "seconds": median(run["whole"] for run in runs),
        "ratio": median_ratio(runs, of_one, itemgetter("whole")),
        "work_seconds": median(_work(run) for run in runs),
        "work_ratio": median_ratio(runs, of_one, _work),
        "runs": runs,
    }


def _work(run: Run) -> float:
    return run["whole"] - run["imports"]


def _as_markdown(config: WritersConfig, ways: list[dict[str, Any]]) -> str:
    rows = [
        [
            str(way["writers"]),
            f"{way['import_seconds']:.1f}",
            f"{way['seconds']:.1f}",
            f"{way['ratio']:.2f}",
            f"{way['work_seconds']:.1f}",
            f"{way['work_ratio']:.2f}",
        ]
        for way in ways
    ]
    return "\n\n".join(
        (
            "# Several writers of one store",
            f"{config.images:,} images of 8x8, the small model that comes along, timesteps "
            f"{config.timesteps}, k = {config.proj_dim:,}, shards of {config.rows_per_shard:,} "
            f"rows; one thread a process; {config.repeats} turns, medians. Work is the whole "
            "without start and imports. All stores hold the same bytes.",
            table(_HEADINGS, rows),
        )
    )
