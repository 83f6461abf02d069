"""The main job: from a model, its training images and queries to scores and a page to look at."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import tyro

from dtrak_stream.data import ImageOptions
from dtrak_stream.diffusion import EMBEDDED_MODEL
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.execution import ExecutionOptions
from dtrak_stream.features import FeatureOptions
from dtrak_stream.featurize import FeaturizeConfig, featurize
from dtrak_stream.gram import GramConfig, GramOptions, compute_gram
from dtrak_stream.kernel import parse_dampings
from dtrak_stream.methods import (
    NEEDS,
    Needs,
    find_method,
    refuse_other_output_function,
    transform_of,
)
from dtrak_stream.progress import say
from dtrak_stream.provenance import record_run
from dtrak_stream.report import ReportConfig, ReportOptions, write_report
from dtrak_stream.score import ScoreConfig, ScoreOptions, score
from dtrak_stream.score.ensemble import checkpoint_weights
from dtrak_stream.score.half_sketch import refuse_without_halves

Result = TypeVar("Result")

_MAKES: tuple[Needs, ...] = ("gradients",)


@dataclass(frozen=True)
class AttributeConfig:
    """Find out which training images each query image is due to.

    Runs every stage: features of the training images, features of the queries, Gram matrix,
    scores, report. What is already done in the run folder is not done again, and an interrupted
    run goes on where it stopped. Without options, the small model that comes with the package
    explains handwritten digits it was not trained on.
    """

    model: str | tuple[str, ...] = EMBEDDED_MODEL
    """Diffusers pipeline folder with safetensors (or the small model that comes along); several \
are an ensemble, or checkpoints for tracincp and gas, whose scores are averaged."""
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
    _refuse_early(config)
    config = _with_output_function(config)
    record = config.run / "config.yaml"
    if not record.exists():
        record_run(record, config)
    stages = StageTimes()
    for model, folder in model_folders(config):
        _run_model(stages, config, model, folder)
    scored = stages.run("scores", score, _score_config(config))
    report = stages.run("report", write_report, _report_config(config, scored.path))
    record_run(record, config)  # only now: a refused call must not rewrite what the run was
    say(stages.summary())
    return AttributeResult(report.path, scored.path, scored.quarantined, stages.seconds)


def _refuse_early(config: AttributeConfig) -> None:
    """Refuse before hours of featurizing what scoring would refuse after them."""
    options = config.score_options
    method = find_method(options.method)
    if method.needs not in _MAKES:
        raise ConfigurationError(
            f"{method.name} needs {NEEDS[method.needs]}, which this command does not make",
            where=f"--method {method.name}",
            remedy="make them with tools/featurize.py or tools/retrain_subsets.py, then run "
            "tools/gram.py and tools/score.py",
        )
    if options.error_bars:
        refuse_without_halves(config.features.projector, config.features.proj_dim)
    transform_of(method, options.transform)
    parse_dampings(options.damping)
    checkpoint_weights(method, options.checkpoint_weights, len(model_folders(config)))


def _with_output_function(config: AttributeConfig) -> AttributeConfig:
    """Let the method choose what is differentiated, where the user did not."""
    method = find_method(config.score_options.method)
    chosen = config.features.output_function or method.output_function
    refuse_other_output_function(method, chosen)
    features = dataclasses.replace(config.features, output_function=chosen)
    return dataclasses.replace(config, features=features)


def model_folders(config: AttributeConfig) -> list[tuple[str, Path]]:
    """Return each model, and the folder for its features and Gram matrix.

    A single model has the folder of the run; of several, each has `models/0`, `models/1`, ... in
    it.
    """
    if isinstance(config.model, str):
        return [(config.model, config.run)]
    if len(config.model) == 1:
        return [(config.model[0], config.run)]
    folder = config.run / "models"
    return [(model, folder / str(number)) for number, model in enumerate(config.model)]


def _run_model(stages: StageTimes, config: AttributeConfig, model: str, folder: Path) -> None:
    """Bring the features and the Gram matrix of one model to completion."""
    train = _featurize_config(config, model, config.train, folder / "train", config.limit)
    query = _featurize_config(config, model, config.query, folder / "query", config.query_limit)
    stages.run("train features", featurize, train)
    stages.run("query features", featurize, query)
    if find_method(config.score_options.method).uses_kernel:
        gram = GramConfig(train.store, folder / "gram.h5", config.gram_options, config.quiet)
        stages.run("Gram matrix", compute_gram, gram)


def _featurize_config(
    config: AttributeConfig, model: str, images: str, store: Path, limit: int | None
) -> FeaturizeConfig:
    return FeaturizeConfig(
        images=images,
        store=store,
        model=model,
        limit=limit,
        redo_corrupt=config.redo_corrupt,
        features=config.features,
        execution=config.execution,
        image_options=config.image_options,
        quiet=config.quiet,
    )


def _score_config(config: AttributeConfig) -> ScoreConfig:
    folders = [folder for _, folder in model_folders(config)]
    uses_kernel = find_method(config.score_options.method).uses_kernel
    return ScoreConfig(
        train=tuple(folder / "train" for folder in folders),
        query=tuple(folder / "query" for folder in folders),
        gram=tuple(folder / "gram.h5" for folder in folders) if uses_kernel else None,
        out=config.run / "scores.h5",
        options=config.score_options,
        memory_limit=config.gram_options.memory_limit,
        quiet=config.quiet,
    )


def _report_config(config: AttributeConfig, scores: Path) -> ReportConfig:
    options = config.report
    if options.damping_number is None and parse_dampings(config.score_options.damping).several:
        say("the report shows the first of the dampings; choose another by --damping-number")
        options = dataclasses.replace(options, damping_number=0)
    return ReportConfig(
        scores=scores,
        train=config.train,
        query=config.query,
        out=config.run / "report",
        limit=config.limit,
        query_limit=config.query_limit,
        images=config.image_options,
        report=options,
        quiet=config.quiet,
    )


class StageTimes:
    """Runs stages and remembers how long each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run(self, name: str, stage: Callable[..., Result], *arguments: object) -> Result:
        """Call `stage` and add its time under `name`."""
        begin = time.perf_counter()
        result = stage(*arguments)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin
        return result

    def summary(self) -> str:
        """Return one line for the user."""
        return "; ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())
