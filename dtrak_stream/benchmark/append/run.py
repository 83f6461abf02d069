"""Measuring changes of a store: each step beside the same from nothing, and their difference."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dtrak_stream.benchmark.append import stages
from dtrak_stream.benchmark.append.options import AppendBenchConfig
from dtrak_stream.benchmark.made_folder import made_folder
from dtrak_stream.benchmark.own_process import answer_of
from dtrak_stream.benchmark.results import (
    BenchmarkResult,
    machine,
    refuse_other_results,
    table,
    write_results,
)
from dtrak_stream.gram.file import Gram
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.support.memory import format_size
from dtrak_stream.support.progress import say


def measure_append(config: AppendBenchConfig) -> BenchmarkResult:
    """Measure what changes cost; see `AppendBenchConfig`.

    Raises
    ------
    MeasuringFailedError
        If a step fails, with the end of what it printed.
    """
    refuse_other_results(config.out, config)
    measured_on = machine()
    with made_folder("append-", config.work) as folder:
        found = _Measurement(config, folder)
        found.run()
    numbers: dict[str, Any] = {
        "benchmark": "append",
        "seconds": found.seconds,
        "processor_seconds": found.processor,
        "peak_bytes": found.peaks,
        "gram_difference": found.gram_difference,
        "score_difference": found.score_difference,
    }
    return write_results(config.out, config, measured_on, numbers, _as_markdown(config, found))


@dataclass
class _Measurement:
    """What was found so far."""

    config: AppendBenchConfig
    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)
    processor: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    gram_difference: float = 0.0
    score_difference: float = 0.0

    def run(self) -> None:
        config, at = self.config, self.folder
        store, query = at / "train", at / "query"
        self.step("query", "write", store=query, rows=config.queries, dim=config.dim)
        self.step("store", "write", store=store, rows=config.rows, dim=config.dim)
        self.step("Gram", "gram", store=store, out=at / "gram.h5")
        self.score("scores", "gram")
        self.step("store, appended", "append", store=store, rows=config.changed)
        self.step("Gram, appended", "gram", store=store, out=at / "gram.h5")
        self.score("scores, appended", "gram")
        rows = np.random.default_rng(0).choice(config.rows, config.changed, replace=False)
        np.save(at / "gone.npy", rows)
        self.step("store, removed", "take_out", store=store, listed=at / "gone.npy")
        self.step("Gram, removed", "gram", store=store, out=at / "gram.h5")
        self.score("scores, removed", "gram")
        self.step("Gram, anew", "gram", store=store, out=at / "anew.h5")
        self.score("scores, anew", "anew")
        self.compare()

    def step(self, name: str, step: str, **given: object) -> None:
        told = {
            key: str(value) if isinstance(value, Path) else value for key, value in given.items()
        }
        answer = answer_of(
            stages.__name__,
            {"step": step, **told},
            where=name,
            remedy="free memory and disk, or take fewer --rows",
        )
        self.seconds[name], self.processor[name] = answer["seconds"], answer["processor"]
        self.peaks[name] = answer["peak_bytes"]
        say(f"{name}: {answer['seconds']:.2f} s, {format_size(answer['peak_bytes'])}")

    def score(self, name: str, gram: str) -> None:
        at = self.folder
        paths = {"of": at / f"{gram}.h5", "out": at / f"scores-{gram}.h5"}
        self.step(name, "scores", store=at / "train", query=at / "query", **paths)

    def compare(self) -> None:
        """Compare what was brought up to date with what was made of nothing."""
        updated, anew = (Gram.open(self.folder / f"{name}.h5") for name in ("gram", "anew"))
        difference = square = 0.0
        for (_, mine), (_, theirs) in zip(updated.blocks(), anew.blocks(), strict=True):
            difference += float(((mine - theirs) ** 2).sum())
            square += float((theirs**2).sum())
        self.gram_difference = (difference / square) ** 0.5
        files = (self.folder / f"scores-{name}.h5" for name in ("gram", "anew"))
        mine, theirs = map(_top_scores, files)
        self.score_difference = float(np.abs(mine - theirs).max() / np.abs(theirs).max())


def _top_scores(path: Path) -> np.ndarray[Any, Any]:
    with ScoresFile(path) as scores:
        ranked = [scores.top(query, scores.top_k) for query in range(scores.query_count)]
    return np.array([[each.score for each in row] for row in ranked])


def _as_markdown(config: AppendBenchConfig, found: _Measurement) -> str:
    headings = ["", "from nothing, s", "appended, s", "share", "removed, s", "share"]
    took = dict(found.processor)
    for change in ("", ", appended", ", removed"):
        took[f"store and Gram{change}"] = took[f"store{change}"] + took[f"Gram{change}"]
    rows = [_row(took, name) for name in ("store", "Gram", "store and Gram", "scores")]
    return (
        f"# Changing a store of {config.rows:,} rows of {config.dim:,} numbers\n\n"
        f"{config.changed:,} rows are appended, then as many removed at random; {config.queries} "
        "queries are scored with lists of 100. Seconds of the processor, one thread.\n\n"
        f"{table(headings, rows)}\n\n"
        "Relative difference to the same from nothing, after both: Gram matrix "
        f"{found.gram_difference:.1e}, strongest scores {found.score_difference:.1e}. Most memory "
        f"of any step: {format_size(max(found.peaks.values()))}."
    )


def _row(seconds: dict[str, float], name: str) -> list[str]:
    whole = seconds[name]
    cells = [name, f"{whole:.2f}"]
    for change in ("appended", "removed"):
        took = seconds[f"{name}, {change}"]
        cells += [f"{took:.2f}", f"{took / whole:.1%}"]
    return cells
