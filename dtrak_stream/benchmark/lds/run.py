"""The LDS benchmark: every data set, every set of features, then the tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dtrak_stream.benchmark.lds.judging import JudgingJob, fitted_rows, judged_rows
from dtrak_stream.benchmark.lds.made_data import FASHION_MNIST, SPRITES
from dtrak_stream.benchmark.lds.options import LdsBenchConfig
from dtrak_stream.benchmark.lds.recipes import feature_sets
from dtrak_stream.benchmark.lds.subjects import (
    QUERY_SETS,
    Numbers,
    Row,
    Subject,
    digits,
)
from dtrak_stream.benchmark.lds.truth_facts import truth_line, truth_numbers
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.kernel.damping import RULES
from dtrak_stream.methods import METHODS
from dtrak_stream.support.progress import say

_CORE = ("trak", "d-trak")
_TRANSFORMS = {"none": "s", "signed-square": r"s\|s\|", "square": "s²"}
_NOTHING = "–"
_ALONG_PATHS = ("journey-trak", "journey-trak-averaged")
_NO_PATHS = (
    "`journey-trak` is left out: another processor generated the images, and those that this one "
    "generates with their sampling paths differ in some pixels."
)


def measure_lds(config: LdsBenchConfig) -> BenchmarkResult:
    """Judge everything asked for; see `LdsBenchConfig`.

    Raises
    ------
    ConfigurationError
        If no data set is left.
    InterruptedRunError
        On Ctrl-C. Finished rows and models are kept.
    DtrakStreamError
        If an option or a file is refused.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    subjects = open_subjects(config)
    rows = _judge(config, subjects)
    if config.baselines:
        rows += [row for subject in subjects for row in fitted_rows(config, subject)]
    results: dict[str, Any] = {
        "benchmark": "lds",
        "truth": {subject.name: truth_numbers(subject, config.queries) for subject in subjects},
        "rows": rows,
    }
    return write_results(config.out, config, measured_on, results, as_markdown(results))


def open_subjects(config: LdsBenchConfig) -> list[Subject]:
    """Return the data sets asked for, made ready; raises as `measure_lds`."""
    subjects = []
    if "digits" in config.data:
        subjects.append(digits(config))
    for data, source, where in (
        (FASHION_MNIST, config.fashion_mnist, "--fashion-mnist (Debian: dataset-fashion-mnist)"),
        (SPRITES, config.crossfire, "--crossfire (Debian: crossfire-client-images)"),
    ):
        if data.name not in config.data:
            continue
        if source is None:
            say(f"{data.name} is skipped: tell where it is with {where}")
            continue
        data.prepare(config, source)
        subjects.append(data.subject(config))
    if not subjects:
        raise ConfigurationError(
            "leaves no data set",
            where="--data",
            remedy="give --fashion-mnist FOLDER, --crossfire FILE, or --data digits",
        )
    return subjects


def _judge(config: LdsBenchConfig, subjects: list[Subject]) -> list[Row]:
    sets = feature_sets(config)
    return judged_rows([JudgingJob(s, each, config) for s in subjects for each in sets], config)


def as_markdown(numbers: dict[str, Any]) -> str:
    """Return title and, for each data set, the tables of recipes, baselines and damping rules."""
    parts = [
        "# Linear datamodeling score",
        "LDS x 100. `rule` is the damping that `--damping auto` chooses without any truth; "
        "`oracle` is the best of a list on the very truth that judges it, an upper bound. "
        r"s: the score; s\|s\|: its square with its sign (signed-square); s²: its square.",
    ]
    for data, truth in numbers["truth"].items():
        rows: list[Row] = [row for row in numbers["rows"] if row["data"] == data]
        about = f"{truth_line(truth)}; standard errors are in the JSON file."
        parts += [f"## {data}", about, _recipes(rows)]
        baselines = [row for row in rows if row["method"] not in _CORE]
        if baselines:
            parts += ["### Other methods", _baselines(baselines)]
            if not any(row["method"] in _ALONG_PATHS for row in baselines):
                parts.append(_NO_PATHS)
        parts += ["### Damping rules against the oracle", _rules(rows)]
    return "\n\n".join(parts)


def _recipes(rows: Sequence[Row]) -> str:
    """Return f x K x noise, each with val, gen, every transform, rule and oracle."""
    headings = ["f", "K", "noise"]
    for queries in QUERY_SETS:
        for sign in _TRANSFORMS.values():
            headings += [f"{queries} {sign}, rule", f"{queries} {sign}, oracle"]
    lines: dict[tuple[str, int, str], list[str]] = {}
    core = [row for row in rows if row["method"] in _CORE]
    for row in core:
        key = (row["output_function"], row["timesteps"], row["noise"])
        lines.setdefault(key, [_cell(core, key, *column) for column in _columns()])
    return table(headings, [[f, str(k), noise, *cells] for (f, k, noise), cells in lines.items()])


def _columns() -> list[tuple[str, str, str]]:
    return [
        (queries, transform, kind)
        for queries in QUERY_SETS
        for transform in _TRANSFORMS
        for kind in ("rule", "oracle")
    ]


def _cell(
    rows: Iterable[Row], key: tuple[str, int, str], queries: str, transform: str, kind: str
) -> str:
    for row in rows:
        at = (row["output_function"], row["timesteps"], row["noise"])
        if at == key and (row["queries"], row["transform"]) == (queries, transform):
            return _lds(row["rules"][RULES[0]] if kind == "rule" else row["oracle"])
    return _NOTHING


def _baselines(rows: Sequence[Row]) -> str:
    """Return a line for each method and transform, with val and gen."""
    headings = ["method", "f", "K"]
    headings += [f"{queries}, {kind}" for queries in QUERY_SETS for kind in ("rule", "oracle")]
    lines: dict[tuple[str, str, int], list[str]] = {}
    for row in rows:
        sign = "" if METHODS[row["method"]].transform != "none" else _TRANSFORMS[row["transform"]]
        name = row["method"] + (f", {sign}" if sign not in ("", "s") else "")
        key = (name, row["output_function"], row["timesteps"])
        cells = lines.setdefault(key, [_NOTHING] * (2 * len(QUERY_SETS)))
        at = 2 * QUERY_SETS.index(row["queries"])
        cells[at : at + 2] = _rule_and_oracle(row)
    return table(headings, [[n, f, str(k or _NOTHING), *c] for (n, f, k), c in lines.items()])


def _rule_and_oracle(row: Row) -> list[str]:
    if "plain" in row:
        return [_lds(row["plain"]), "no damping"]
    return [_lds(row["rules"][RULES[0]]), _lds(row["oracle"])]


def _rules(rows: Sequence[Row]) -> str:
    """Return how much each rule loses against the oracle, over all recipes."""
    lines = []
    for transform in _TRANSFORMS:
        damped = [row for row in rows if "rules" in row and row["transform"] == transform]
        for rule in RULES:
            lost = [row["oracle"]["lds"] - row["rules"][rule]["lds"] for row in damped]
            if lost:
                points = 100 * np.array(lost)
                cells = [f"{points.mean():.2f}", f"{np.median(points):.2f}", f"{points.max():.2f}"]
                lines.append([f"`{rule}`, {_TRANSFORMS[transform]}", str(len(lost)), *cells])
    return table(("rule", "recipes", "mean loss", "median loss", "largest loss"), lines)


def _lds(numbers: Numbers) -> str:
    return f"{100 * numbers['lds']:.1f}"
