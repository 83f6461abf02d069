"""Features of one kind, scored in every way asked for and judged by the truth."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
import xxhash

from dtrak_stream.benchmark.kept_results import finish_jobs
from dtrak_stream.benchmark.lds.options import JudgingConfig, LdsBenchConfig
from dtrak_stream.benchmark.lds.recipes import FeatureSet, Scoring
from dtrak_stream.benchmark.lds.subjects import (
    QUERY_SETS,
    Judged,
    Numbers,
    Row,
    Subject,
    work_folder,
    write_paths,
)
from dtrak_stream.evaluation.lds.comparison import is_rule
from dtrak_stream.evaluation.lds.configuration import LdsConfig
from dtrak_stream.evaluation.lds.estimate import LdsEstimate
from dtrak_stream.evaluation.lds.judge import Judgement, open_judge
from dtrak_stream.evaluation.lds.run import lds
from dtrak_stream.evaluation.lds.tables import estimate_numbers
from dtrak_stream.evaluation.subset_scores.configuration import SubsetScoreConfig
from dtrak_stream.evaluation.subset_scores.run import score_from_subsets
from dtrak_stream.evaluation.truth import TruthFile
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.gram.options import GramConfig
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.methods import find_method
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
from dtrak_stream.scoring.run import score
from dtrak_stream.store.store_set import bandwidth_of
from dtrak_stream.support.cluster_options import own_device
from dtrak_stream.support.durable import write_json
from dtrak_stream.support.progress import say, untold

_FORMAT = 2
_OF_ONE_KERNEL = ("damping_relative", "effective_dimension")
Paths = tuple[Path, ...]
Method = Literal["datamodel", "empirical-influence"]
_FEWEST_MODELS = 10  # two for each fold of the cross-validation
_METHODS: tuple[Method, ...] = ("datamodel", "empirical-influence")


@dataclass(frozen=True)
class JudgingJob:
    """One set of features of one data set; can be sent to another process.

    Attributes
    ----------
    subject, features
        Data set and features.
    config
        The options.
    """

    subject: Subject
    features: FeatureSet
    config: JudgingConfig

    @property
    def rows_file(self) -> Path:
        """Return where its rows are kept; another truth or other options mean another file."""
        decisive = [
            _FORMAT,
            xxhash.xxh3_64_hexdigest(self.subject.truth.read_bytes()),
            _decisive(self.features),
            [scoring.damping for scoring in self.features.scorings],
            self.config.queries,
        ]
        name = f"{self.features.name}.{xxhash.xxh3_64_hexdigest(repr(decisive).encode())}.json"
        return work_folder(self.config, self.subject.name) / "rows" / name

    def rows(self) -> list[Row] | None:
        """Return its rows if it is done."""
        if not self.rows_file.exists():
            return None
        return cast(list[Row], json.loads(self.rows_file.read_text()))


def judged_rows(jobs: Sequence[JudgingJob], config: JudgingConfig) -> list[Row]:
    """Return the rows of all jobs, those that earlier calls left behind among them.

    Raises
    ------
    InterruptedRunError
        On Ctrl-C. Finished rows are kept.
    """
    finish_jobs(
        jobs,
        [job for job in jobs if job.rows() is None],
        run_judging_job,
        config.where,
        description="judging",
        kept="rows",
        place=f"beside {config.out}",
        visible=not config.quiet,
    )
    return [row for job in jobs for row in job.rows() or []]


def run_judging_job(job: JudgingJob) -> None:
    """Compute features, score and judge; keep the rows and nothing else."""
    torch.set_num_threads(job.config.where.threads)
    folder = work_folder(job.config, job.subject.name) / "stores" / job.features.name
    with untold():
        rows = list(_rows(job, folder))
    job.rows_file.parent.mkdir(parents=True, exist_ok=True)
    write_json(job.rows_file, rows)
    shutil.rmtree(folder)


def _rows(job: JudgingJob, folder: Path) -> Iterator[Row]:
    subject, features = job.subject, job.features
    trains = tuple(
        _featurized(job, each, subject.train, folder / f"train-{number}")
        for number, each in enumerate(features.streams)
    )
    grams = tuple(folder / f"gram-{number}.h5" for number in range(len(trains)))
    if any(find_method(scoring.method).uses_kernel for scoring in features.scorings):
        for train, gram in zip(trains, grams, strict=True):
            compute_gram(GramConfig(train, gram, quiet=True))
    for name in QUERY_SETS:
        queries = tuple(
            _featurized(job, each, subject.queries(name), folder / f"{name}-{number}", like=train)
            for number, (each, train) in enumerate(zip(features.streams, trains, strict=True))
        )
        for scoring in features.scorings:
            if scoring.along is None:
                yield from _judged(job, scoring, name, trains, queries, grams)
    for number, scoring in enumerate(features.scorings):
        if scoring.along is not None:
            along = _featurized_along(job, scoring.along, folder / f"along-{number}")
            if along is not None:
                yield from _judged(job, scoring, "gen", trains, (along,), grams)


def _decisive(features: FeatureSet) -> dict[str, Any]:
    """Return all columns of a set of features, but for that of a sum where it is none."""
    columns = asdict(features)
    if not features.sum_of:
        del columns["sum_of"]
    return columns


def _device(job: JudgingJob) -> str:
    return own_device() or job.config.where.first_device


def _featurized(
    job: JudgingJob, features: FeatureSet, images: str, store: Path, like: Path | None = None
) -> Path:
    """Compute features, of the bandwidth that another store has where there is one."""
    bandwidth = None if like is None else bandwidth_of(like)
    config = FeaturizeConfig(
        images,
        store,
        job.subject.model,
        features=replace(_feature_options(job, features), bandwidth=bandwidth),
        image_options=job.subject.image_options,
        condition_options=job.subject.conditions,
        quiet=True,
    )
    return featurize(config).path


def _feature_options(job: JudgingJob, features: FeatureSet) -> FeatureOptions:
    """Return what a feature is: of the factors of a LoRA, where the data set is about one."""
    options = features.options(_device(job))
    if not features.timesteps:
        return replace(options, size=job.subject.side)
    lora = job.subject.lora
    return options if lora is None else replace(options, lora=(lora,))


def _featurized_along(job: JudgingJob, along: str, store: Path) -> Path | None:
    """Compute features along sampling paths; None if those of the queries cannot be had here."""
    device = _device(job)
    images = write_paths(job.subject, device)
    if images is None:
        return None
    config = FeaturizeConfig(
        str(images),
        store,
        job.subject.model,
        trajectory=images,
        features=job.features.options(device, along),
        quiet=True,
    )
    return featurize(config).path


def _judged(
    job: JudgingJob, scoring: Scoring, name: str, trains: Paths, queries: Paths, grams: Paths
) -> Iterator[Row]:
    """Yield the row of each transform."""
    out = trains[0].parent / "scores.h5"
    out.unlink(missing_ok=True)  # of a scoring during which an earlier call was stopped
    uses_kernel = find_method(scoring.method).uses_kernel
    for transform in scoring.transforms:
        options = ScoreOptions(
            scoring.method,
            damping=scoring.damping if uses_kernel else "auto",
            transform=transform,
            top_k=1,
            save_scores="yes",
        )
        kernels = grams if uses_kernel else None
        score(ScoreConfig(trains, queries, kernels, out, options, quiet=True))
        found = _lds(job, out, name, uses_kernel=uses_kernel)
        yield _row(job, scoring.method, name, transform, found)
        out.unlink()


def _lds(job: JudgingJob, scores: Path, queries: str, *, uses_kernel: bool) -> Judged:
    """Return the LDS of each rule's damping and of the oracle's, or the only one there is."""
    config = LdsConfig(
        (scores,), job.subject.truth, queries, queries=job.config.queries, quiet=True
    )
    judgements = open_judge(config).judge_each(scores)
    if not uses_kernel:
        return {"plain": estimate_numbers(judgements[0].estimate)}
    by_rule = [each for each in judgements if is_rule(each.attributes["damping"])]
    rules = {str(each.attributes["damping"]): _damped(each) for each in by_rule}
    oracle = max(judgements, key=lambda each: each.estimate.value)
    return {"rules": rules, "oracle": _damped(oracle)}


def _damped(judgement: Judgement) -> Numbers:
    told = {name: judgement.attributes.get(name) for name in _OF_ONE_KERNEL}
    numbers = {name: float(value) for name, value in told.items() if value is not None}
    return {**estimate_numbers(judgement.estimate), **numbers}


def _row(job: JudgingJob, method: str, queries: str, transform: str, judged: Judged) -> Row:
    features = job.features
    return {
        "data": job.subject.name,
        "queries": queries,
        "method": method,
        "output_function": features.output_function,
        "timesteps": features.timesteps,
        "noise": features.noise,
        "proj_dim": features.proj_dim,
        "transform": transform,
        **judged,
    }


def fitted_rows(config: LdsBenchConfig, subject: Subject) -> list[Row]:
    """Fit to the first half of the subsets and judge by the second; nothing if that is too few."""
    half = len(TruthFile(subject.truth).mask) // 2
    if half < _FEWEST_MODELS:
        say(f"{subject.truth}: too few subsets to fit datamodels to half of them")
        return []
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="lds-") as folder:
        for method in _METHODS:
            for queries in QUERY_SETS:
                out = Path(folder) / f"{method}-{queries}.h5"
                estimate = _fitted_and_judged(config, subject.truth, method, queries, half, out)
                rows.append(
                    {
                        "data": subject.name,
                        "queries": queries,
                        "method": method,
                        "output_function": f"loss of {half} models",
                        "timesteps": 0,
                        "noise": "shared",
                        "proj_dim": 0,
                        "transform": "none",
                        "plain": estimate_numbers(estimate),
                    }
                )
    return rows


def _fitted_and_judged(
    config: LdsBenchConfig, truth: Path, method: Method, queries: str, half: int, out: Path
) -> LdsEstimate:
    fit = SubsetScoreConfig(truth, out, method, queries, f":{half}", top_k=1, quiet=True)
    score_from_subsets(fit)
    judge = LdsConfig((out,), truth, queries, f"{half}:", config.queries, quiet=True)
    (estimate,) = lds(judge).estimates
    return estimate
