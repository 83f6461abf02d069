"""The numbers of featurizing as Markdown."""

from __future__ import annotations

from typing import Any

from dtrak_stream.benchmark.results import table
from dtrak_stream.report.numbers import unsigned
from dtrak_stream.support.memory import format_size

_WAYS = (
    "model and way",
    "K",
    "images",
    "pairs a pass",
    "ms an image",
    "time / training step",
    "peak memory",
)
_PROJECTING = ("projector", "ms a gradient", "time / our sketch")


def as_markdown(numbers: dict[str, Any]) -> str:
    """Return title and tables."""
    parts = [
        "# Featurizing",
        "Per-sample gradients of K timesteps an image, next to one plain forward and backward pass "
        "over the same (image, timestep) pairs; medians of "
        f"{numbers['repeats']} turns. Peak memory is that of the whole process.",
        table(_WAYS, [_way_row(each) for each in numbers["ways"]]),
    ]
    if numbers["projecting"]:
        parts += [_projecting_title(numbers["projecting"][0]), _projecting(numbers["projecting"])]
    parts += [f"- {line}" for line in numbers["missing"]]
    return "\n\n".join(parts)


def _way_row(found: dict[str, Any]) -> list[str]:
    return [
        f"{found['model']} ({found['num_parameters']:,}), {found['way']}",
        str(found["timesteps"]),
        str(found["images"]),
        str(found["size"]),
        unsigned(1e3 * found["seconds"] / found["images"]),
        f"{found['ratio']:.2f}",
        format_size(found["peak_bytes"]) if found["peak_bytes"] else "",
    ]


def _projecting_title(first: dict[str, Any]) -> str:
    return (
        f"Projecting a batch of {first['rows']:,} gradients of length "
        f"{first['num_parameters']:,} to k = {first['proj_dim']:,}, dense matrices generated anew."
    )


def _projecting(results: list[dict[str, Any]]) -> str:
    sketch = results[0]["seconds"]
    return table(
        _PROJECTING,
        [
            [
                each["projector"],
                unsigned(1e3 * each["seconds"] / each["rows"]),
                f"{each['seconds'] / sketch:,.1f}",
            ]
            for each in results
        ],
    )
