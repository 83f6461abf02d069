"""What each stage of the main job is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dtrak_stream.attribution.configuration import AttributeConfig
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.groups import GroupOptions
from dtrak_stream.kernel import parse_dampings
from dtrak_stream.methods import find_method
from dtrak_stream.report import ReportConfig
from dtrak_stream.scoring import ScoreConfig
from dtrak_stream.store.store_set import store_roots
from dtrak_stream.support.progress import say


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


def featurize_configs(
    config: AttributeConfig, model: str, folder: Path
) -> tuple[FeaturizeConfig, FeaturizeConfig]:
    """Return what featurizing training images and queries with one model is asked for."""
    train = FeaturizeConfig(
        images=config.train,
        store=folder / "train",
        model=model,
        limit=config.limit,
        redo_corrupt=config.redo_corrupt,
        features=config.features,
        execution=config.execution,
        image_options=config.image_options,
        quiet=config.quiet,
    )
    query = dataclasses.replace(
        train,
        images=config.query,
        store=folder / "query",
        limit=config.query_limit,
        features=query_features(config),
        trajectory=config.trajectory,
    )
    return train, query


def query_features(config: AttributeConfig) -> FeatureOptions:
    """Return what a feature of a query is: what it is of training images, for most methods."""
    along = find_method(config.score_options.method).query_output_function
    if along is None:
        return config.features
    return dataclasses.replace(config.features, output_function=along)


def gram_paths(folder: Path) -> list[tuple[Path, Path]]:
    """Return each training store of a model, and where its Gram matrix is: several for probes."""
    stores = store_roots(folder / "train")
    if len(stores) == 1:
        return [(stores[0], folder / "gram.h5")]
    return [(store, folder / f"gram-{number:03d}.h5") for number, store in enumerate(stores)]


def score_config(config: AttributeConfig) -> ScoreConfig:
    """Return what scoring is asked for, over the stores of all models."""
    folders = [folder for _, folder in model_folders(config)]
    grams = tuple(gram for folder in folders for _, gram in gram_paths(folder))
    return ScoreConfig(
        train=tuple(folder / "train" for folder in folders),
        query=tuple(folder / "query" for folder in folders),
        gram=grams if find_method(config.score_options.method).uses_kernel else None,
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
