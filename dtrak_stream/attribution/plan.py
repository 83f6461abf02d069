"""The main job resolved: each stage's own configuration, made once and in one place."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtrak_stream.attribution.configuration import AttributeConfig
from dtrak_stream.attribution.query_sets import query_folder, record_of
from dtrak_stream.attribution.residuals import ResidualPlan, plan_residuals
from dtrak_stream.data.named_source import split_name
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.kinds import number_of_stores
from dtrak_stream.features.names import is_of_gradients, is_of_images
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.gram.options import GramConfig, GramOptions
from dtrak_stream.groups.options import GroupOptions
from dtrak_stream.kernel.damping import DampingChoices, parse_dampings
from dtrak_stream.methods import NEEDS, Method, Needs, features_of, find_method
from dtrak_stream.report.options import ReportConfig
from dtrak_stream.scoring.options import ScoreConfig, used_by
from dtrak_stream.store.store_set import store_folders
from dtrak_stream.support.unused_options import without_unused

_MAKES: tuple[Needs, ...] = tuple(each for each in NEEDS if each != "subsets")


@dataclass(frozen=True)
class ModelPlan:
    """What is done with one model for one stream of the method.

    Attributes
    ----------
    name
        Its folder in the run; nothing where there is one model only.
    train, query
        Its features of training images and of queries.
    grams
        A Gram matrix for each of its training stores; none for a method without a kernel.
    stream
        Number of the stream that they are for.
    stream_name
        The folder of that in those of features; nothing where there is one stream only.
    """

    name: str
    train: FeaturizeConfig
    query: FeaturizeConfig
    grams: tuple[GramConfig, ...]
    stream: int = 0
    stream_name: str = ""

    @property
    def title(self) -> str:
        """Return what tells it from the others of a run; nothing where there are none."""
        return " ".join(filter(None, (self.name, self.stream_name)))


@dataclass(frozen=True)
class AttributionPlan:
    """What every stage of the main job is asked for.

    Attributes
    ----------
    config
        The configuration, with the features that the method chose; those of a sum of streams are
        chosen in each of `models`.
    method
        The attribution method.
    dampings
        The lambdas; None for a method without a kernel.
    models
        The models, in the order of their scores; each as often as the method has streams.
    score, report
        What scoring and the report are asked for.
    residuals
        What residuals are computed of; None without held-out images.
    """

    config: AttributeConfig
    method: Method
    dampings: DampingChoices | None
    models: tuple[ModelPlan, ...]
    score: ScoreConfig
    report: ReportConfig
    residuals: ResidualPlan | None = None

    @property
    def record(self) -> Path:
        """Return the file that keeps the configuration."""
        return record_of(self.config)


def make_plan(config: AttributeConfig) -> AttributionPlan:
    """Resolve a configuration; looks at no file.

    Raises
    ------
    ConfigurationError
        If there is no such method, this job does not make what it needs, it takes no such
        features, the damping is none, or scores are to depend on what no held-out images tell.
    """
    method = find_method(config.score_options.method)
    _refuse_other_needs(method)
    features = [features_of(method, config.features, n) for n in range(len(method.streams))]
    config = dataclasses.replace(
        config,
        features=config.features if method.is_sum else features[0],
        gram_options=_gram_options(method, config.gram_options),
    )
    dampings = parse_dampings(config.score_options.damping)
    models = tuple(
        _model_plan(config, method, *each, number, own)
        for each in _folders(config)
        for number, own in enumerate(features)
    )
    residuals = plan_residuals(config, models[0].train)
    return AttributionPlan(
        config,
        method,
        dampings if method.uses_kernel else None,
        models,
        used_by(method, _score_config(config, models, residuals)),
        _report_config(config, first_of_several=method.uses_kernel and dampings.several),
        residuals,
    )


def _refuse_other_needs(method: Method) -> None:
    if method.needs not in _MAKES:
        raise ConfigurationError(
            f"{method.name} needs {NEEDS[method.needs]}, which this command does not make",
            where=f"--method {method.name}",
            remedy="make their losses with dtrak-stream retrain-subsets, then score with "
            f"dtrak-stream score --method {method.name} --truth truth.npz",
        )


def _gram_options(method: Method, options: GramOptions) -> GramOptions:
    if method.uses_kernel:
        return options
    return without_unused(options, ["gram_form"], f"{method.name} has no kernel")


def _folders(config: AttributeConfig) -> list[tuple[str, str]]:
    """Return each model and its folder in the run: several have `models/0`, `models/1`, ..."""
    models = (config.model,) if isinstance(config.model, str) else config.model
    if len(models) == 1:
        return [(models[0], "")]
    return [(model, f"models/{number}") for number, model in enumerate(models)]


def _model_plan(
    config: AttributeConfig,
    method: Method,
    model: str,
    name: str,
    number: int,
    features: FeatureOptions,
) -> ModelPlan:
    """Return what is done with a model in its folder, for one stream with features of its own."""
    folder, stream = config.run / name, method.streams[number].name
    query, source = split_name(config.query)
    cache, execution = config.cache_latents, config.execution
    # of a sum, what is said of gradients and of latents is said to the streams that have them
    if stream and is_of_images(features.output_function):
        cache = None
    if stream and not is_of_gradients(features.output_function):
        execution = dataclasses.replace(execution, engine="auto", compile=False)
    train = FeaturizeConfig(
        images=config.train,
        store=folder / "train" / stream,
        model=model,
        limit=config.limit,
        cache_latents=cache and cache / "train",
        append=config.append,
        redo_corrupt=config.redo_corrupt,
        rehash=config.rehash,
        features=features,
        execution=execution,
        image_options=config.image_options,
        condition_options=config.condition_options,
        cluster=config.cluster,
        quiet=config.quiet,
    )
    queries = dataclasses.replace(
        train,
        append=False,
        images=source,
        store=query_folder(config.run, query) / name / "query" / stream,
        limit=config.query_limit,
        image_options=config.query_images,
        condition_options=config.query_conditions,
        features=_query_features(features, method),
        trajectory=config.trajectory,
        cache_latents=cache and query_folder(cache, query) / "query",
    )
    grams = _grams(config, train, folder, stream) if method.uses_kernel else ()
    return ModelPlan(name, train, queries, grams, number, stream)


def _query_features(features: FeatureOptions, method: Method) -> FeatureOptions:
    """Return what a feature of a query is: what it is of training images, for most methods."""
    along = method.query_output_function
    if along is None:
        return features
    return dataclasses.replace(features, output_function=along)


def _grams(
    config: AttributeConfig, train: FeaturizeConfig, folder: Path, stream: str
) -> tuple[GramConfig, ...]:
    """Return the Gram matrix of each training store of a model: several for probes."""
    stores = store_folders(train.store, number_of_stores(train.features))
    stem = folder / "gram" / stream if stream else folder / "gram"
    ends = [""] if len(stores) == 1 else [f"-{i:03d}" for i in range(len(stores))]
    return tuple(
        GramConfig(
            store,
            stem.with_name(f"{stem.name}{end}.h5"),
            config.gram_options,
            config.cluster,
            config.quiet,
            device=config.features.device,
        )
        for store, end in zip(stores, ends, strict=True)
    )


def _score_config(
    config: AttributeConfig, models: tuple[ModelPlan, ...], residuals: ResidualPlan | None
) -> ScoreConfig:
    """Return what scoring is asked for, over the stores of all models."""
    grams = tuple(gram.out for model in models for gram in model.grams)
    scoring = ScoreConfig(
        train=tuple(model.train.store for model in models),
        query=tuple(model.query.store for model in models),
        gram=grams or None,
        out=query_folder(config.run, split_name(config.query)[0]) / "scores.h5",
        options=config.score_options,
        memory_limit=config.gram_options.memory_limit,
        quiet=config.quiet,
        groups=_group_options(config),
        device=config.features.device,
    )
    if residuals is None:
        return scoring
    stores: dict[str, Any] = dict(residuals.stores)
    return dataclasses.replace(scoring, neighbours=residuals.neighbours, **stores)


def _group_options(config: AttributeConfig) -> GroupOptions:
    """Let a column of groups be one of the training images, unless told otherwise."""
    options = config.group_options
    if options.group_column is None or options.group_source is not None:
        return options
    return dataclasses.replace(options, group_source=config.train)


def _report_config(config: AttributeConfig, *, first_of_several: bool) -> ReportConfig:
    """Return what the report is asked for; of a list of dampings, it shows the first."""
    options = config.report
    if first_of_several and options.damping_number is None:
        options = dataclasses.replace(options, damping_number=0)
    name, source = split_name(config.query)
    folder = query_folder(config.run, name)
    return ReportConfig(
        scores=folder / "scores.h5",
        train=config.train,
        query=source,
        out=folder / "report",
        limit=config.limit,
        query_limit=config.query_limit,
        query_split=config.query_split,
        images=config.image_options,
        query_options=config.query_image_options,
        report=options,
        quiet=config.quiet,
    )
