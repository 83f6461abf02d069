"""The published recipe next to `best`: time, and where there is a truth, LDS."""

from __future__ import annotations

from typing import Any

from dtrak_stream.benchmark.lds.judging import JudgingJob, judged_rows
from dtrak_stream.benchmark.lds.options import LdsBenchConfig
from dtrak_stream.benchmark.lds.recipes import feature_sets
from dtrak_stream.benchmark.lds.subjects import QUERY_SETS, Row, digits
from dtrak_stream.benchmark.recipe.options import RecipeConfig
from dtrak_stream.benchmark.recipe.turns import WAYS, measured_turns, turn_numbers
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.evaluation.retraining.configuration import WorkerOptions
from dtrak_stream.kernel.damping import RULES
from dtrak_stream.report.histograms import unsigned

_HEADINGS = (
    "model and recipe",
    "gradients, CPU s an image",
    "projection",
    "whole",
    "images / CPU s",
    "images / s",
    "CPU time / best",
    "time / best",
)
_JUDGED = ("recipe", "val, rule", "val, oracle", "gen, rule", "gen, oracle")
_METHODS = {"published": "d-trak", "best": "best"}


def measure_recipe(config: RecipeConfig) -> BenchmarkResult:
    """Measure the published recipe next to `best`; see `RecipeConfig`.

    Raises
    ------
    MeasuringFailedError
        If a process that is measured fails.
    InterruptedRunError
        On Ctrl-C while scores are judged. What is finished is kept.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    numbers: dict[str, Any] = {
        "benchmark": "recipe",
        "models": [turn_numbers(name, measured_turns(config, name)) for name in config.models],
        "lds": _judged(config) if config.lds else [],
    }
    return write_results(config.out, config, measured_on, numbers, as_markdown(numbers, config))


def _judged(config: RecipeConfig) -> list[Row]:
    """Return the rows of both recipes on the digits, of scores as each is published."""
    judging = LdsBenchConfig(
        out=config.out,
        data=("digits",),
        output_functions=("square",),
        timesteps=(config.timesteps,),
        noise=("per-sample",),
        baselines=False,
        where=WorkerOptions(threads=config.threads, device=config.device),
        quiet=config.quiet,
    )
    jobs = [JudgingJob(digits(judging), each, judging) for each in feature_sets(judging)]
    rows = judged_rows(jobs, judging)
    return [row for row in rows if row["method"] == "best" or row["transform"] == "none"]


def as_markdown(numbers: dict[str, Any], config: RecipeConfig) -> str:
    """Return title, tables, and what was extrapolated."""
    parts = [
        "# The published recipe, next to `best`",
        f"Published: vmap(grad) of `square`, one timestep at a time, K = {config.timesteps}, noise "
        "of its own for each image, and a dense matrix of normals that is generated anew for each "
        f"{config.batch} images. Both in turns, each in a process of its own, on {config.threads} "
        f"thread(s); medians of {config.rounds} turns, ratios within a turn.",
        table(_HEADINGS, [row for found in numbers["models"] for row in _rows(found)]),
        "\n".join(
            f"- {found['model']}, {way}: timed were {found['ways'][way]['timed']}."
            for found in numbers["models"]
            for way in WAYS
        ),
    ]
    if numbers["lds"]:
        parts += [
            "LDS x 100 on the digits, damping chosen without the truth (rule) and with it "
            "(oracle). The gradients of the published recipe go through the sketch here, which is "
            "as accurate as a dense matrix ([how accurate](projecting.md)).",
            table(_JUDGED, [_lds_row(way, numbers["lds"]) for way in WAYS]),
        ]
    return "\n\n".join(parts)


def _rows(found: dict[str, Any]) -> list[list[str]]:
    ratios = {"published": [f"{found['cpu_ratio']:,.0f}", f"{found['ratio']:,.0f}"]}
    return [
        [
            f"{found['model']}, {way}",
            unsigned(cost["gradients_cpu_seconds"]),
            unsigned(cost["projection_cpu_seconds"]) if way == "published" else "–",
            unsigned(cost["cpu_seconds"]),
            unsigned(1 / cost["cpu_seconds"]),
            unsigned(1 / cost["seconds"]),
            *ratios.get(way, ["1", "1"]),
        ]
        for way, cost in found["ways"].items()
    ]


def _lds_row(way: str, rows: list[Row]) -> list[str]:
    cells = []
    for queries in QUERY_SETS:
        (row,) = (r for r in rows if r["method"] == _METHODS[way] and r["queries"] == queries)
        cells += [row["rules"][RULES[0]]["lds"], row["oracle"]["lds"]]
    return [way, *(f"{100 * cell:.1f}" for cell in cells)]
