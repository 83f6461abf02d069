"""Planning and running each setting, in turns, and what both said."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from dtrak_stream.benchmark.foretelling.foretold import foretold_of
from dtrak_stream.benchmark.foretelling.options import ForetellingConfig, SettingName
from dtrak_stream.benchmark.foretelling.settings import Setting, make_setting
from dtrak_stream.benchmark.main_job.stages import Cost, Stage, imports_command, measure_command
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.report.histograms import unsigned
from dtrak_stream.support.memory import format_size
from dtrak_stream.support.progress import say
from dtrak_stream.support.provenance import record_run

_HEADINGS = (
    "setting, images",
    "CPU s planned",
    "CPU s",
    "planned / run",
    "s planned",
    "s",
    "planned / run",
    "memory planned",
    "memory",
    "planned / run",
    "of it, when engine and batch were chosen",
    "CPU s of choosing",
    "share of CPU s",
)


def measure_foretelling(config: ForetellingConfig) -> BenchmarkResult:
    """Measure how well plans foretell; see `ForetellingConfig`.

    Raises
    ------
    DtrakStreamError
        If an option is refused, or a process that is measured fails.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    imports = measure_command(imports_command("featurize", of_models=False))
    found = [_measured(name, config, imports) for name in config.settings]
    numbers = {
        "benchmark": "plan",
        "imports": dataclasses.asdict(imports),
        "settings": found,
    }
    return write_results(config.out, config, measured_on, numbers, as_markdown(numbers))


def _measured(name: SettingName, config: ForetellingConfig, imports: Cost) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        setting = make_setting(name, config.images, Path(folder))
        turns = [_turn(setting, Path(folder), imports, turn) for turn in range(config.repeats)]
    found: dict[str, Any] = {"setting": name, "images": setting.images, "turns": turns}
    found |= {key: median(turn[key] for turn in turns) for key in turns[0] if key != "how"}
    for key in ("cpu_seconds", "seconds", "memory_bytes"):
        found[f"{key}_ratio"] = median(turn[f"planned_{key}"] / turn[key] for turn in turns)
    found["share_of_choosing"] = median(turn["choosing"] / turn["cpu_seconds"] for turn in turns)
    say(" ".join(_row(found)))
    return found


def _turn(setting: Setting, folder: Path, imports: Cost, number: int) -> dict[str, Any]:
    """Plan, then run; the time that starting the process takes is added to the plan."""
    options = folder / f"plan-{number}.yaml"
    record_run(options, setting.plan)
    foretold = foretold_of(options)
    run = dataclasses.replace(setting.run, store=folder / f"store-{number}")
    command = Stage("", "featurize", run, setting.images).command(folder / f"run-{number}.yaml")
    cost = measure_command(command)
    chosen = json.loads((run.store / "store.json").read_text())["run"]["calibration"]
    return {
        "planned_cpu_seconds": imports.cpu_seconds + foretold.cpu_seconds,
        "planned_seconds": imports.seconds + foretold.seconds,
        "planned_memory_bytes": foretold.memory_bytes,
        "planned_process_bytes": foretold.process_bytes,
        "how": foretold.how,
        "cpu_seconds": cost.cpu_seconds,
        "seconds": cost.seconds,
        "memory_bytes": cost.peak_bytes,
        "memory_bytes_when_chosen": chosen["peak_bytes"],
        "choosing": chosen["cpu_seconds"],
    }


def as_markdown(numbers: dict[str, Any]) -> str:
    """Return title and tables."""
    imports = numbers["imports"]
    to_start = f"{imports['cpu_seconds']:.1f} s of the processor, {imports['seconds']:.1f} s by the"
    parts = [
        "# What a plan foretells",
        "`dtrak-stream plan`, then `dtrak-stream featurize` with the same options, each a process "
        "of its own: time of the processor, which others at work on the machine do not add to, and "
        "by the clock; peak memory of the whole process. What is planned is with starting Python "
        f"and importing packages, which a plan does not tell: {to_start} clock.",
        table(_HEADINGS, [_row(each) for each in numbers["settings"]]),
        "Each was planned as: "
        + "; ".join(f"{each['setting']}: {each['turns'][0]['how']}" for each in numbers["settings"])
        + ".",
    ]
    return "\n\n".join(parts)


def _row(found: dict[str, Any]) -> list[str]:
    cells = [f"{found['setting']}, {found['images']:,}"]
    for key in ("cpu_seconds", "seconds"):
        cells += [unsigned(found[f"planned_{key}"]), unsigned(found[key])]
        cells.append(f"{found[f'{key}_ratio']:.2f}")
    cells += [format_size(found["planned_memory_bytes"]), format_size(found["memory_bytes"])]
    cells.append(f"{found['memory_bytes_ratio']:.2f}")
    cells.append(format_size(found["memory_bytes_when_chosen"]))
    cells += [unsigned(found["choosing"]), f"{found['share_of_choosing']:.1%}"]
    return cells
