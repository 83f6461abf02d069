"""The LoRA benchmark: methods judged by LoRAs that were retrained on halves of their images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtrak_stream.benchmark.lds.judging import JudgingJob, judged_rows
from dtrak_stream.benchmark.lds.recipes import FeatureSet, Scoring
from dtrak_stream.benchmark.lds.subjects import QUERY_SETS, Numbers, Row
from dtrak_stream.benchmark.lds.truth_facts import truth_line, truth_numbers
from dtrak_stream.benchmark.lora.options import LoraBenchConfig, MethodName
from dtrak_stream.benchmark.lora.subject import made, shipped
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.kernel.damping import RULES
from dtrak_stream.methods import METHODS

_PLAIN, _SIGNED = "none", "signed-square"
_TIMESTEPS = 10


def measure_lora(config: LoraBenchConfig) -> BenchmarkResult:
    """Judge the methods asked for; see `LoraBenchConfig`.

    Raises
    ------
    InterruptedRunError
        On Ctrl-C. Finished rows and LoRAs are kept.
    DtrakStreamError
        If an option or a file is refused.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    subject = shipped() if config.base is None else made(config, config.base)
    sets = [feature_set(name, config) for name in dict.fromkeys(config.methods)]
    results: dict[str, Any] = {
        "benchmark": "lora",
        "truth": truth_numbers(subject, config.queries),
        "rows": judged_rows([JudgingJob(subject, each, config) for each in sets], config),
    }
    return write_results(config.out, config, measured_on, results, as_markdown(results))


def feature_set(name: MethodName, config: LoraBenchConfig) -> FeatureSet:
    """Return what a method is judged with: K = 10 but for `best`, and shared noise."""
    k, best = config.proj_dim, METHODS["best"].streams[0].timesteps
    plain, both = (Scoring(name, (_PLAIN,)),), (Scoring(name, (_PLAIN, _SIGNED)),)
    sets = {
        "best": FeatureSet("avg", len(best.split(",")), "shared", k, plain, grid=best),
        "das": FeatureSet("avg", _TIMESTEPS, "shared", k, plain, unit_gradients=True),
        "trak": FeatureSet("simple", _TIMESTEPS, "shared", k, both),
        "d-trak": FeatureSet("square", _TIMESTEPS, "shared", k, both),
        "pixel-cosine": FeatureSet("pixels", 0, "shared", k, plain),
    }
    return sets[name]


def as_markdown(numbers: dict[str, Any]) -> str:
    """Return the page: what is judged, and a line for each method and transform."""
    about = (
        "LDS x 100 +- its standard error over subsets and queries. `rule` is the damping that "
        "`--damping auto` chooses without any truth; `oracle` is the best of a list on the very "
        "truth that judges it, an upper bound. Gradients are those of the factors of the LoRA."
    )
    parts = ["# LDS of a LoRA", about, f"{truth_line(numbers['truth'])}.", _table(numbers["rows"])]
    return "\n\n".join(parts)


def _table(rows: Sequence[Row]) -> str:
    headings = ["method", "f", "K"]
    headings += [f"{queries}, {kind}" for queries in QUERY_SETS for kind in ("rule", "oracle")]
    lines: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        signed = ", s\\|s\\|" if row["transform"] == _SIGNED else ""
        name = f"`{row['method']}`{signed}"
        steps = str(row["timesteps"] or "–")
        line = lines.setdefault((row["method"], signed), [name, row["output_function"], steps])
        line += _cells(row)
    return table(headings, list(lines.values()))


def _cells(row: Row) -> list[str]:
    if "plain" in row:
        return [_lds(row["plain"]), "no damping"]
    return [_lds(row["rules"][RULES[0]]), _lds(row["oracle"])]


def _lds(numbers: Numbers) -> str:
    return f"{100 * numbers['lds']:.1f} +- {100 * numbers['standard_error']:.1f}"
