"""The LDS benchmark: every data set, every set of features, then the tables."""

from __future__ import annotations

from typing import Any

from dtrak_stream.benchmark.lds.fitted import fitted_rows
from dtrak_stream.benchmark.lds.judging import JudgingJob, run_judging_job
from dtrak_stream.benchmark.lds.options import LdsBenchConfig
from dtrak_stream.benchmark.lds.recipes import feature_sets
from dtrak_stream.benchmark.lds.rows import Row
from dtrak_stream.benchmark.lds.subjects import (
    QUERY_SETS,
    Subject,
    digits,
    fashion_mnist,
    prepare_fashion_mnist,
)
from dtrak_stream.benchmark.lds.tables import as_markdown
from dtrak_stream.benchmark.results import BenchmarkResult, machine, write_results
from dtrak_stream.errors import ConfigurationError, InterruptedRunError
from dtrak_stream.evaluation.lds import LdsConfig
from dtrak_stream.evaluation.lds.judge import open_judge
from dtrak_stream.support.progress import progress, say
from dtrak_stream.support.workers import run_jobs


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
    measured_on = machine()
    subjects = _subjects(config)
    rows = _judge(config, subjects)
    if config.baselines:
        rows += [row for subject in subjects for row in fitted_rows(config, subject)]
    results: dict[str, Any] = {
        "benchmark": "lds",
        "truth": {subject.name: _truth_numbers(config, subject) for subject in subjects},
        "rows": rows,
    }
    return write_results(config.out, config, measured_on, results, as_markdown(results))


def _subjects(config: LdsBenchConfig) -> list[Subject]:
    """Return the data sets, made ready."""
    subjects = []
    if "digits" in config.data:
        subjects.append(digits(config))
    if "fashion-mnist" in config.data:
        if config.fashion_mnist is None:
            say(
                "Fashion-MNIST is skipped: give its folder with --fashion-mnist "
                "(Debian: apt install dataset-fashion-mnist)"
            )
        else:
            prepare_fashion_mnist(config, config.fashion_mnist)
            subjects.append(fashion_mnist(config))
    if not subjects:
        raise ConfigurationError(
            "leaves no data set", where="--data", remedy="give --fashion-mnist FOLDER, or digits"
        )
    return subjects


def _judge(config: LdsBenchConfig, subjects: list[Subject]) -> list[Row]:
    """Return all rows, those that earlier calls left behind among them."""
    jobs = [
        JudgingJob(subject, each, config) for subject in subjects for each in feature_sets(config)
    ]
    missing = [job for job in jobs if job.rows() is None]
    done = len(jobs) - len(missing)
    with progress(
        len(jobs),
        description="judging",
        unit="feature set",
        done=done,
        visible=not config.quiet,
    ) as bar:
        try:
            for _ in run_jobs(run_judging_job, missing, workers=config.where.workers):
                done += 1
                bar.update()
        except KeyboardInterrupt as interrupt:
            raise InterruptedRunError(
                f"rows of {done} of {len(jobs)} sets of features are kept beside {config.out}"
            ) from interrupt
    return [row for job in jobs for row in job.rows() or []]


def _truth_numbers(config: LdsBenchConfig, subject: Subject) -> dict[str, Any]:
    """Return how many models and queries a truth has, and how far its seeds agree."""
    found: dict[str, Any] = {}
    for queries in QUERY_SETS:
        judge = open_judge(LdsConfig((), subject.truth, queries, queries=config.queries))
        ceiling = judge.ceiling()
        found[queries] = {
            "subsets": len(judge.losses),
            "queries": int(judge.known.sum()),
            "seeds": 1 if ceiling is None else ceiling.seeds,
            "seed_agreement": ceiling and ceiling.agreement,
            "noise_ceiling": ceiling and ceiling.ceiling,
        }
    return found
