"""The main job: from a model, its training images and queries to scores and a page to look at."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import tyro

from dtrak_stream.data import ImageOptions
from dtrak_stream.data.labels import sample_ids_of
from dtrak_stream.diffusion import EMBEDDED_MODEL
from dtrak_stream.execution import ExecutionOptions
from dtrak_stream.features import FeatureOptions
from dtrak_stream.featurize import FeaturizeConfig, FeaturizeResult, featurize
from dtrak_stream.gram import GramConfig, GramOptions, compute_gram
from dtrak_stream.groups import GroupOptions, read_groups
from dtrak_stream.memory import parse_size
from dtrak_stream.methods import find_method, refuse_other_output_function
from dtrak_stream.progress import say
from dtrak_stream.provenance import record_run
from dtrak_stream.report import ReportConfig, ReportOptions, write_report
from dtrak_stream.score import ScoreConfig, ScoreOptions, ScoreResult, score

Result = TypeVar("Result")


@dataclass(frozen=True)
class AttributeConfig:
    """Find out which training images each query image is due to.

    Runs every stage: features of the training images, features of the queries, Gram matrix,
    scores, report. What is already done in the run folder is not done again, and an interrupted
    run goes on where it stopped. Without options, the small model that comes with the package
    explains handwritten digits it was not trained on.
    """

    model: str = EMBEDDED_MODEL
    """Diffusers pipeline folder with safetensors (or the small model that comes along)."""
    train: str = "sklearn:digits[:1000]"
    """Images the model was trained on: a folder, FILE.npz:KEY, FILE.npy, FILE.h5:KEY, a datasets \
folder, parquet, tar, hf:OWNER/NAME or sklearn:digits; [a:b] at the end takes a range."""
    query: str = "sklearn:digits[1000:1016]"
    """Images to explain: generated ones, or any others; sources as for --train."""
    run: Path = Path("runs/attribute")
    """Folder for everything this run writes."""
    limit: int | None = None
    """Use only the first so many training images."""
    query_limit: int | None = None
    """Use only the first so many queries."""
    redo_corrupt: bool = False
    """Compute shards again that are truncated or fail their checksum, instead of refusing."""
    score_options: tyro.conf.OmitArgPrefixes[ScoreOptions] = field(default_factory=ScoreOptions)
    features: tyro.conf.OmitArgPrefixes[FeatureOptions] = field(default_factory=FeatureOptions)
    execution: tyro.conf.OmitArgPrefixes[ExecutionOptions] = field(default_factory=ExecutionOptions)
    image_options: tyro.conf.OmitArgPrefixes[ImageOptions] = field(default_factory=ImageOptions)
    gram_options: tyro.conf.OmitArgPrefixes[GramOptions] = field(default_factory=GramOptions)
    group_options: tyro.conf.OmitArgPrefixes[GroupOptions] = field(default_factory=GroupOptions)
    report: tyro.conf.OmitArgPrefixes[ReportOptions] = field(default_factory=ReportOptions)
    quiet: bool = False
    """Draw no progress bars."""


@dataclass(frozen=True)
class AttributeResult:
    """Where the results of a run are.

    Attributes
    ----------
    path
        The report's page.
    scores
        The scores file.
    quarantined
        Samples of either set without a score.
    seconds
        Time each stage took in this call, by its name.
    """

    path: Path
    scores: Path
    quarantined: int
    seconds: dict[str, float]


def attribute(config: AttributeConfig) -> AttributeResult:
    """Run every stage of the main job; see `AttributeConfig`.

    Raises
    ------
    DtrakStreamError
        If any stage refuses; see `featurize`, `compute_gram`, `score` and `write_report`.
    InterruptedRunError
        On Ctrl-C. The same call goes on where it stopped.
    """
    config = _with_output_function(config)
    _refuse_bad_groups(config)
    record = config.run / "config.yaml"
    if not record.exists():
        record_run(record, config)
    stages = StageTimes()
    train = stages.run("train features", _featurize, config, config.train, "train", config.limit)
    query = stages.run(
        "query features", _featurize, config, config.query, "query", config.query_limit
    )
    gram_config = GramConfig(train.path, config.run / "gram.h5", config.gram_options, config.quiet)
    gram = stages.run("Gram matrix", compute_gram, gram_config)
    scored = stages.run("scores", _score, config, train.path, query.path, gram.path)
    report = stages.run("report", write_report, _report_config(config, scored.path))
    record_run(record, config)  # only now: a refused call must not rewrite what the run was
    say(stages.summary())
    return AttributeResult(report.path, scored.path, scored.quarantined, stages.seconds)


def _with_output_function(config: AttributeConfig) -> AttributeConfig:
    """Let the method choose what is differentiated, where the user did not."""
    method = find_method(config.score_options.method)
    chosen = config.features.output_function or method.output_function
    refuse_other_output_function(method, chosen)
    features = dataclasses.replace(config.features, output_function=chosen)
    return dataclasses.replace(config, features=features)


def _refuse_bad_groups(config: AttributeConfig) -> None:
    """Read the groups once before anything is computed, which may take days."""
    options, images = _group_options(config), config.image_options
    if options.chosen:
        visible = not config.quiet
        names = sample_ids_of(config.train, images, limit=config.limit, visible=visible)
        ids = np.array([name.encode() for name in names], np.bytes_)
        limit = parse_size(config.gram_options.memory_limit, flag="--memory-limit")
        read_groups(options, ids, images=images, memory_limit=limit, visible=visible)


def _featurize(
    config: AttributeConfig, images: str, name: str, limit: int | None
) -> FeaturizeResult:
    return featurize(
        FeaturizeConfig(
            images=images,
            store=config.run / name,
            model=config.model,
            limit=limit,
            redo_corrupt=config.redo_corrupt,
            features=config.features,
            execution=config.execution,
            image_options=config.image_options,
            quiet=config.quiet,
        )
    )


def _score(config: AttributeConfig, train: Path, query: Path, gram: Path) -> ScoreResult:
    return score(
        ScoreConfig(
            train=train,
            query=query,
            gram=gram,
            out=config.run / "scores.h5",
            options=config.score_options,
            groups=_group_options(config),
            memory_limit=config.gram_options.memory_limit,
            quiet=config.quiet,
        ),
        config.image_options,
    )


def _group_options(config: AttributeConfig) -> GroupOptions:
    """Let a column of groups be one of the training images, unless told otherwise."""
    options = config.group_options
    if options.group_column is None or options.group_source is not None:
        return options
    return dataclasses.replace(options, group_source=config.train)


def _report_config(config: AttributeConfig, scores: Path) -> ReportConfig:
    return ReportConfig(
        scores=scores,
        train=config.train,
        query=config.query,
        out=config.run / "report",
        limit=config.limit,
        query_limit=config.query_limit,
        images=config.image_options,
        report=config.report,
        quiet=config.quiet,
    )


class StageTimes:
    """Runs stages and remembers how long each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run(self, name: str, stage: Callable[..., Result], *arguments: object) -> Result:
        """Call `stage` and note its time under `name`."""
        begin = time.perf_counter()
        result = stage(*arguments)
        self.seconds[name] = time.perf_counter() - begin
        return result

    def summary(self) -> str:
        """Return one line for the user."""
        return "; ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())
