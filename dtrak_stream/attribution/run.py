"""The main job: from a model, its training images and queries to scores and a page to look at."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dtrak_stream.attribution.checks import (
    refuse_bad_groups,
    refuse_early,
    with_method_features,
)
from dtrak_stream.attribution.configuration import AttributeConfig, AttributeResult
from dtrak_stream.attribution.stages import (
    featurize_configs,
    gram_paths,
    model_folders,
    report_config,
    score_config,
)
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.gram import GramConfig, compute_gram
from dtrak_stream.methods import find_method
from dtrak_stream.report import write_report
from dtrak_stream.scoring import score
from dtrak_stream.support.progress import say
from dtrak_stream.support.provenance import record_run

Result = TypeVar("Result")


def attribute(config: AttributeConfig) -> AttributeResult:
    """Run every stage of the main job; see `AttributeConfig`.

    Raises
    ------
    DtrakStreamError
        If any stage refuses; see `featurize`, `compute_gram`, `score` and `write_report`.
    InterruptedRunError
        On Ctrl-C. The same call goes on where it stopped.
    """
    refuse_early(config)
    config = with_method_features(config)
    refuse_bad_groups(config)
    record = config.run / "config.yaml"
    if not record.exists():
        record_run(record, config)
    stages = StageTimes()
    for model, folder in model_folders(config):
        _run_model(stages, config, model, folder)
    scored = stages.run("scores", score, score_config(config), config.image_options)
    report = stages.run("report", write_report, report_config(config, scored.path))
    record_run(record, config)  # only now: a refused call must not rewrite what the run was
    say(stages.summary())
    return AttributeResult(report.path, scored.path, scored.quarantined, stages.seconds)


def _run_model(stages: StageTimes, config: AttributeConfig, model: str, folder: Path) -> None:
    """Bring the features and the Gram matrices of one model to completion."""
    method = find_method(config.score_options.method)
    train, query = featurize_configs(config, model, folder)
    wanted = [("train features", train), ("query features", query)]
    if method.query_output_function is not None:
        wanted.reverse()  # a path that does not suit is refused before the longer work
    for name, features in wanted:
        stages.run(name, featurize, features)
    if method.uses_kernel:
        for store, gram in gram_paths(folder):
            matrix = GramConfig(store, gram, config.gram_options, config.quiet)
            stages.run("Gram matrix", compute_gram, matrix)


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
