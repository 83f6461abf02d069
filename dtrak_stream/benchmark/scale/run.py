"""Measuring size: stage by stage, store by store, then ratios and growth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from dtrak_stream.benchmark.made_folder import made_folder
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.benchmark.scale.options import ScaleConfig
from dtrak_stream.benchmark.scale.stages import StageOptions, cost_of
from dtrak_stream.gram.plan import plan_gram, tile_bytes
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.memory import format_size, parse_size
from dtrak_stream.support.progress import say

_MILLION = 1_000_000
_STAGES = ("writing", "Gram", "products of the Gram", "damping", "scores", "products of the scores")
_DASK = "plain dask"
_RATIOS = {
    "Gram / its products": ("Gram", "products of the Gram"),
    "scores / their products": ("scores", "products of the scores"),
    "plain dask / Gram": (_DASK, "Gram"),
}

Costs = dict[str, dict[str, float]]


def measure_scale(config: ScaleConfig) -> BenchmarkResult:
    """Measure stores of growing size; see `ScaleConfig`.

    Raises
    ------
    DtrakStreamError
        If an option is refused, or a process that is measured fails.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    with made_folder("scale-", config.work) as folder:
        sizes = [_measured(config, folder, samples) for samples in config.samples]
        wide = [_wide(config, folder, proj_dim) for proj_dim in config.wide]
    numbers: dict[str, Any] = {
        "benchmark": "scale",
        "sizes": sizes,
        "growth": [_growth(*pair) for pair in pairwise(sizes)],
        "wide": wide,
    }
    return write_results(config.out, config, measured_on, numbers, as_markdown(config, numbers))


def _measured(config: ScaleConfig, folder: Path, samples: int) -> dict[str, Any]:
    """Measure all stages of a store, and the products of each beside it."""
    stages = (*_STAGES, _DASK) if config.dask else _STAGES
    costs = {stage: _cost(config, folder, stage, samples, config.proj_dim) for stage in stages}
    return {"samples": samples, "stages": costs, "ratios": _ratios(costs)}


def _cost(
    config: ScaleConfig, folder: Path, stage: str, samples: int, proj_dim: int
) -> dict[str, float]:
    options = StageOptions(
        stage,
        str(folder),
        samples,
        proj_dim,
        config.rows_per_shard,
        config.queries,
        config.top_k,
        config.memory_limit,
    )
    cost = asdict(cost_of(options))
    say(
        f"{samples:,} x {proj_dim:,}, {stage}: {cost['seconds']:.2f} s, "
        f"{cost['cpu_seconds']:.2f} s of the processor, {format_size(cost['peak_bytes'])}"
    )
    return cost


def _ratios(costs: Costs) -> dict[str, float]:
    return {
        name: costs[stage]["cpu_seconds"] / costs[beside]["cpu_seconds"]
        for name, (stage, beside) in _RATIOS.items()
        if stage in costs
    }


def _growth(smaller: dict[str, Any], larger: dict[str, Any]) -> dict[str, Any]:
    """Return by which power of N each stage grew, and by which factor its memory."""
    log = math.log(larger["samples"] / smaller["samples"])
    powers, memory = {}, {}
    for stage, cost in larger["stages"].items():
        before = smaller["stages"][stage]
        powers[stage] = math.log(cost["cpu_seconds"] / before["cpu_seconds"]) / log
        memory[stage] = cost["peak_bytes"] / before["peak_bytes"]
    return {"from": smaller["samples"], "to": larger["samples"], "power": powers, "memory": memory}


def _wide(config: ScaleConfig, folder: Path, proj_dim: int) -> dict[str, Any]:
    """Measure the Gram matrix of long features, and plan that of a million of them."""
    samples = config.wide_samples
    stages = ("writing", "Gram", "products of the Gram")
    costs = {stage: _cost(config, folder, stage, samples, proj_dim) for stage in stages}
    options = StageOptions("", str(folder), samples, proj_dim, 1, 1, 1, config.memory_limit)
    store = FeatureStore.open(options.train)
    limit = parse_size(config.memory_limit, flag="--memory-limit")
    plan = plan_gram(store, "primal", memory_limit=limit, workers=1)
    return {
        "samples": samples,
        "proj_dim": proj_dim,
        "stages": costs,
        "ratios": _ratios(costs),
        "tile_size": plan.tile_size,
        "passes": sum(1 for _ in plan.tiles()),
        "planned_bytes": tile_bytes(
            store, "primal", plan.tile_size, 1, plan.rows_at_a_time, plan.ahead
        ),
        "million_store_bytes": 2 * _MILLION * proj_dim,
        "million_cpu_seconds": costs["Gram"]["cpu_seconds"] * _MILLION / samples,
    }


def as_markdown(config: ScaleConfig, numbers: dict[str, Any]) -> str:
    """Return title and tables."""
    parts = [
        "# Size",
        f"Stores of k = {config.proj_dim:,} float16 in shards of {config.rows_per_shard:,} rows; "
        f"{config.queries:,} queries with the {config.top_k:,} strongest of each end. Each stage "
        "is a process of its own on one core; seconds are of the processor (and by the clock), "
        "without start and imports; memory is the whole process at its peak.",
        table(("rows", *_headings(numbers)), list(_stage_rows(numbers))),
        table(("rows", *_RATIOS), list(_ratio_rows(numbers))),
    ]
    if numbers["growth"]:
        parts.append("Powers of N that seconds grow by, and in brackets factors of memory:")
        parts.append(table(("rows", *_headings(numbers)), list(_growth_rows(numbers))))
    if numbers["wide"]:
        headings = (
            *("features", "Gram, s", "of products", "peak memory", "tile", "passes"),
            *("planned arrays", "a million: store", "a million: hours"),
        )
        parts.append(table(headings, [_wide_row(each) for each in numbers["wide"]]))
    return "\n\n".join(parts)


def _headings(numbers: dict[str, Any]) -> list[str]:
    return list(numbers["sizes"][0]["stages"])


def _stage_rows(numbers: dict[str, Any]) -> Iterator[Sequence[str]]:
    for size in numbers["sizes"]:
        costs = size["stages"].values()
        yield [f"{size['samples']:,}", *(_seconds(cost) for cost in costs)]
        yield ["", *(format_size(cost["peak_bytes"]) for cost in costs)]


def _seconds(cost: dict[str, float]) -> str:
    return f"{cost['cpu_seconds']:.2f} ({cost['seconds']:.2f})"


def _ratio_rows(numbers: dict[str, Any]) -> Iterator[Sequence[str]]:
    for size in numbers["sizes"]:
        ratios = size["ratios"]
        told = [f"{ratios[name]:.2f}" if name in ratios else "" for name in _RATIOS]
        yield [f"{size['samples']:,}", *told]


def _growth_rows(numbers: dict[str, Any]) -> Iterator[Sequence[str]]:
    for each in numbers["growth"]:
        told = [
            f"{power:.2f} ({each['memory'][stage]:.2f})" for stage, power in each["power"].items()
        ]
        yield [f"{each['from']:,} to {each['to']:,}", *told]


def _wide_row(each: dict[str, Any]) -> list[str]:
    return [
        f"{each['samples']:,} x {each['proj_dim']:,}",
        _seconds(each["stages"]["Gram"]),
        f"{each['ratios']['Gram / its products']:.2f}",
        format_size(each["stages"]["Gram"]["peak_bytes"]),
        f"{each['tile_size']:,}",
        str(each["passes"]),
        format_size(each["planned_bytes"]),
        format_size(each["million_store_bytes"]),
        f"{each['million_cpu_seconds'] / 3600:.1f}",
    ]
