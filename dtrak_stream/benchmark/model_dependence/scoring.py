"""Scores of every method under every model: features are computed once for all that take them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

from dtrak_stream.benchmark.kept_results import finish_jobs
from dtrak_stream.benchmark.model_dependence.models import (
    FULL,
    HALVES,
    REPEATED,
    Pool,
    generated_folder,
    model_folder,
    weights_digest,
)
from dtrak_stream.benchmark.model_dependence.options import ModelDependenceConfig
from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.errors import InputError
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.gram.options import GramConfig
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.methods import features_of, find_method
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
from dtrak_stream.scoring.run import score
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.store.store_set import bandwidth_of
from dtrak_stream.support.cluster_options import own_device
from dtrak_stream.support.durable import durable_path
from dtrak_stream.support.progress import untold

VALIDATION = "validation"
QUERIES_OF_REPEATED = (VALIDATION, REPEATED)
"""Images near which repeated ones are looked for: other images of the kind, and generated ones."""
_FORMAT = 1
Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class ScoringJob:
    """Features under one model, and the methods that take them; can be sent.

    Attributes
    ----------
    config
        The options.
    model
        Name of the model.
    features
        What a feature is, of each of the streams that the methods add up: of one for most.
    methods
        The methods that take them.
    limit, image_options
        How the pool was read when the full model was trained.
    identity
        What decides the scores besides features and methods: weights and images.
    """

    config: ModelDependenceConfig
    model: str
    features: tuple[FeatureOptions, ...]
    methods: tuple[str, ...]
    pool: str
    limit: int | None
    image_options: ImageOptions
    identity: str

    @property
    def scores_file(self) -> Path:
        """Return where its scores are kept; other images, weights or options: another file."""
        features = [asdict(replace(each, device="auto")) for each in self.features]
        decisive = repr([_FORMAT, features, self.methods, self.identity])
        name = "-".join([self.model, *(str(each.output_function) for each in self.features)])
        return self.folder / f"{name}-{xxhash.xxh3_64_hexdigest(decisive.encode())}.npz"

    @property
    def folder(self) -> Path:
        """Return where scores are kept."""
        return self.config.work / "scores"

    def scores(self) -> dict[tuple[str, str], Matrix]:
        """Return its scores (Q, N), by method and queries; they must be there."""
        with np.load(self.scores_file) as file:
            both = ((name.partition("/"), file[name]) for name in file.files)
            return {(method, queries): scores for (method, _, queries), scores in both}


@dataclass(frozen=True)
class Scores:
    """All scores.

    Attributes
    ----------
    by_model
        (Q, N) by model, method and queries.
    """

    by_model: dict[tuple[str, str, str], Matrix]

    def of(self, model: str, method: str, queries: str) -> NDArray[np.float64]:
        """Return the scores of a method under a model, (Q, N)."""
        return self.by_model[model, method, queries].astype(np.float64)


def asked(config: ModelDependenceConfig) -> dict[str, tuple[str, ...]]:
    """Return for each model the sets of queries that are scored under it.

    A set is called `validation`, or as the model that generated it.
    """
    of_repeated = QUERIES_OF_REPEATED if config.repeated else ()
    under = {**dict.fromkeys(HALVES, HALVES), FULL: (*HALVES, *of_repeated)}
    return under | ({REPEATED: of_repeated} if of_repeated else {})


def queries_source(config: ModelDependenceConfig, queries: str) -> str:
    """Return the images that are called so: validation, or those that a model generated."""
    if queries == VALIDATION:
        return config.validation_images
    return generated_folder(config, queries)


def open_queries(config: ModelDependenceConfig, pool: Pool, queries: str) -> Images:
    """Return these images, as the model sees them."""
    options = pool.training.image_options.elsewhere(None)
    return open_images(
        queries_source(config, queries), pool.images.shape, options, visible=not config.quiet
    )


def scoring_jobs(config: ModelDependenceConfig, pool: Pool) -> list[ScoringJob]:
    """Return what is to be scored, once all models and images are there."""
    sets, kinds = asked(config), feature_kinds(config)
    images = {each: open_queries(config, pool, each).identity() for each in sets[FULL]}
    jobs = []
    for model, queries in sets.items():
        weights = weights_digest(model_folder(config, model))
        identity = repr([weights, pool.images.identity(), [images[each] for each in queries]])
        jobs += [
            ScoringJob(
                config,
                model,
                features,
                tuple(methods),
                pool.training.images,
                pool.training.limit,
                pool.training.image_options,
                identity,
            )
            for features, methods in kinds.items()
        ]
    return jobs


def feature_kinds(config: ModelDependenceConfig) -> dict[tuple[FeatureOptions, ...], list[str]]:
    """Return the different features, those of each stream, and the methods that take them."""
    usual = FeatureOptions(device=config.where.first_device)
    kinds: dict[tuple[FeatureOptions, ...], list[str]] = {}
    for name in config.method_names:
        method = find_method(name)
        with untold():
            features = tuple(features_of(method, usual, i) for i in range(len(method.streams)))
        kinds.setdefault(features, []).append(name)
    return kinds


def all_scores(jobs: Sequence[ScoringJob], config: ModelDependenceConfig) -> Scores:
    """Return the scores of all jobs, those that earlier calls left behind among them.

    Raises
    ------
    InterruptedRunError
        On Ctrl-C. Finished scores are kept.
    """
    finish_jobs(
        jobs,
        [job for job in jobs if not job.scores_file.exists()],
        run_scoring_job,
        config.where,
        description="scoring",
        kept="scores",
        place=f"in {config.work}",
        visible=not config.quiet,
    )
    found = ((job.model, key, scores) for job in jobs for key, scores in job.scores().items())
    return Scores({(model, *key): scores for model, key, scores in found})


def run_scoring_job(job: ScoringJob) -> None:
    """Compute features and scores; keep the scores and nothing else."""
    torch.set_num_threads(job.config.where.threads)
    stores = job.scores_file.with_suffix(".stores")
    with untold():
        scores = _scores(job, stores)
    with durable_path(job.scores_file) as partial, partial.open("wb") as file:
        np.savez(file, **scores)  # type: ignore[arg-type]
    shutil.rmtree(stores)


def _scores(job: ScoringJob, stores: Path) -> dict[str, Matrix]:
    """Return all scores of a job, (Q, N), by "method/queries"."""
    trains = tuple(
        _featurized(job, each, job.pool, stores / f"pool-{number}")
        for number, each in enumerate(job.features)
    )
    grams = tuple(stores / f"gram-{number}.h5" for number in range(len(trains)))
    if any(find_method(name).uses_kernel for name in job.methods):
        for train, gram in zip(trains, grams, strict=True):
            compute_gram(GramConfig(train, gram, quiet=True))
    found = {}
    for name in asked(job.config)[job.model]:
        images = queries_source(job.config, name)
        queries = tuple(
            _featurized(job, each, images, stores / f"{name}-{number}", like=trains[number])
            for number, each in enumerate(job.features)
        )
        for method in job.methods:
            out = stores / "scores.h5"
            found[f"{method}/{name}"] = _scored(method, trains, queries, grams, out)
    return found


def _featurized(
    job: ScoringJob, features: FeatureOptions, images: str, store: Path, like: Path | None = None
) -> Path:
    """Compute features of the pool or, `like` those of the pool, of queries."""
    bandwidth = None if like is None else bandwidth_of(like)
    device = own_device() or features.device
    config = FeaturizeConfig(
        images,
        store,
        model_folder(job.config, job.model),
        limit=job.limit if like is None else None,
        features=replace(features, device=device, bandwidth=bandwidth),
        image_options=job.image_options if like is None else job.image_options.elsewhere(None),
        quiet=True,
    )
    return featurize(config).path


def _scored(
    method: str,
    trains: tuple[Path, ...],
    queries: tuple[Path, ...],
    grams: tuple[Path, ...],
    out: Path,
) -> Matrix:
    """Return all scores of a method, (Q, N)."""
    options = ScoreOptions(method, top_k=1, save_scores="yes")
    kernels = grams if find_method(method).uses_kernel else None
    score(ScoreConfig(trains, queries, kernels, out, options, quiet=True))
    with ScoresFile(out) as file:
        scores = file.block(slice(None), slice(None))
    out.unlink()
    if not np.isfinite(scores).all():
        raise InputError(
            f"some of these images have no score by {method}: they have no feature",
            where=f"{trains[0]} and {queries[0]}",
            remedy="see quarantine.jsonl there, and leave these images out",
        )
    return scores
