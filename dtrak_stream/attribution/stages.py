"""What each stage of the main job is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dtrak_stream.attribution.configuration import AttributeConfig
from dtrak_stream.featurize import FeaturizeConfig
from dtrak_stream.groups import GroupOptions
from dtrak_stream.kernel import parse_dampings
from dtrak_stream.methods import find_method
from dtrak_stream.progress import say
from dtrak_stream.report import ReportConfig
from dtrak_stream.score import ScoreConfig


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


def featurize_config(
    config: AttributeConfig, model: str, images: str, store: Path, limit: int | None
) -> FeaturizeConfig:
    """Return what featurizing one set of images with one model is asked for."""
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


def score_config(config: AttributeConfig) -> ScoreConfig:
    """Return what scoring is asked for, over the stores of all models."""
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
        groups=group_options(config),
    )


def group_options(config: AttributeConfig) -> GroupOptions:
    """Let a column of groups be one of the training images, unless told otherwise."""
    options = config.group_options
    if options.group_column is None or options.group_source is not None:
        return options
    return dataclasses.replace(options, group_source=config.train)


def report_config(config: AttributeConfig, scores: Path) -> ReportConfig:
    """Return what the report is asked for; of a list of dampings, it shows the first."""
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
