"""The numbers of the main job as Markdown."""

from __future__ import annotations

from typing import Any

from dtrak_stream.benchmark.main_job.options import MainJobConfig
from dtrak_stream.benchmark.results import table
from dtrak_stream.report.numbers import unsigned
from dtrak_stream.support.memory import format_size

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
