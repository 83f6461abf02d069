"""The search: streams of every data set, recipes judged by its truth, tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtrak_stream.benchmark.lds.run import open_subjects
from dtrak_stream.benchmark.lds.subjects import QUERY_SETS
from dtrak_stream.benchmark.lds.truth_facts import truth_line, truth_numbers
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.benchmark.search.judging import judged_recipes
from dtrak_stream.benchmark.search.options import SearchConfig
from dtrak_stream.benchmark.search.recipes import BASELINE, chosen_recipes
from dtrak_stream.benchmark.search.streams import finish_streams, stream_jobs

_HEADINGS = ("passes", "bytes", "ms")
_COLUMNS = ("even", "odd", "odd, beside best", "all, beside best")


def measure_search(config: SearchConfig) -> BenchmarkResult:
    """Judge all recipes asked for; see `SearchConfig`.

    Raises
    ------
    ConfigurationError
        If no data set is left, or there is no such recipe.
    InterruptedRunError
        On Ctrl-C. Finished scores are kept.
    DtrakStreamError
        If an option or a file is refused.
    """
    recipes = chosen_recipes(config.recipes)
    refuse_other_results(config.out, config)
    measured_on = machine()
    subjects = open_subjects(config.of_truths)
    jobs = {each.name: stream_jobs(config, each, recipes) for each in subjects}
    finish_streams([job for each in subjects for job in jobs[each.name]], config)
    rows = [
        row for each in subjects for row in judged_recipes(config, each, recipes, jobs[each.name])
    ]
    results: dict[str, Any] = {
        "benchmark": "search",
        "truth": {each.name: truth_numbers(each, "all") for each in subjects},
        "rows": rows,
    }
    return write_results(config.out, config, measured_on, results, as_markdown(results))


def as_markdown(numbers: dict[str, Any]) -> str:
    """Return title and, for each data set, a table for val and gen."""
    parts = [
        "# Recipes beside best",
        "LDS x 100 on the even queries (to choose by) and the odd ones (to report), and the mean "
        "difference from `best` over the same queries and models, with its standard error for "
        "other queries and other halves. `passes`: gradients + forward passes of an image; "
        "`bytes` of its rows; `ms`: processor time of its features in one run, loading left out "
        "(rough where a machine does other work).",
    ]
    for data, truth in numbers["truth"].items():
        rows = [row for row in numbers["rows"] if row["data"] == data]
        parts += [f"## {data}", f"{truth_line(truth)}."]
        parts += [f"### {queries}\n\n{_table(rows, queries)}" for queries in QUERY_SETS]
    return "\n\n".join(parts)


def _table(rows: Sequence[dict[str, Any]], queries: str) -> str:
    lines = []
    for row in rows:
        even, odd, both = (row[f"{queries}-{part}"] for part in ("even", "odd", "all"))
        passes = f"{row['gradients']} + {row['forwards']}"
        costs = [passes, f"{row['bytes']:,}", f"{row['milliseconds']:.1f}"]
        lds = [_percent(even["lds"]), _with_error(odd["lds"], odd["standard_error"])]
        beside = [_difference(row, each) for each in (odd, both)]
        lines.append([row["recipe"], *costs, *lds, *beside])
    return table(("recipe", *_HEADINGS, *_COLUMNS), lines)


def _difference(row: dict[str, Any], part: dict[str, float]) -> str:
    if row["recipe"] == BASELINE:
        return "–"
    return _with_error(part["difference"], part["error"], sign="+")


def _with_error(value: float, error: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f} +- {100 * error:.1f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
