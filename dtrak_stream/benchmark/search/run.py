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
from dtrak_stream.benchmark.search.along import subjects_along
from dtrak_stream.benchmark.search.judging import PARTS, judged_recipes
from dtrak_stream.benchmark.search.options import SearchConfig
from dtrak_stream.benchmark.search.recipes import BASELINE, chosen_recipes
from dtrak_stream.benchmark.search.streams import finish_streams, stream_jobs

_COSTS = ("passes", "bytes", "ms")
_COLUMNS = ("even", "odd", "odd - best", "all - best")


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
    jobs = {
        each.name: stream_jobs(config, each, recipes, subjects_along(config, each, recipes))
        for each in subjects
    }
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
    """Return title and a table for each data set."""
    parts = [
        "# Recipes beside best",
        "LDS x 100 on the even queries (to choose by) and the odd ones (to report), and the mean "
        "difference from `best` over the same queries and models, with its standard error for "
        "other queries and other halves. passes: gradients + forward passes of an image; bytes: of "
        "its rows; ms: processor time of its features in one run, loading left out (rough where a "
        "machine does other work).",
    ]
    for data, truth in numbers["truth"].items():
        rows = [row for row in numbers["rows"] if row["data"] == data]
        parts += [f"## {data}", f"{truth_line(truth)}.", _table(rows)]
    return "\n\n".join(parts)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    columns = [f"{queries} {column}" for queries in QUERY_SETS for column in _COLUMNS]
    lines = []
    for row in rows:
        costs = [f"{row['gradients']} + {row['forwards']}", f"{row['bytes']:,}"]
        line = [row["recipe"], *costs, f"{row['milliseconds']:.1f}"]
        for queries in QUERY_SETS:
            even, odd, both = (row[f"{queries}-{part}"] for part in PARTS)
            line += [f"{100 * part['lds']:.1f}" for part in (even, odd)]
            line += [_beside_best(row, part) for part in (odd, both)]
        lines.append(line)
    return table(("recipe", *_COSTS, *columns), lines)


def _beside_best(row: dict[str, Any], part: dict[str, float]) -> str:
    if row["recipe"] == BASELINE:
        return "–"
    return f"{100 * part['difference']:+.1f} +- {100 * part['error']:.1f}"
