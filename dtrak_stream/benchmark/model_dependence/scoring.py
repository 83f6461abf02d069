"""Scores of every method under every model: features of one kind are computed once for all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

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
from dtrak_stream.errors import InputError, InterruptedRunError
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.gram.options import GramConfig
from dtrak_stream.gram.run import compute_gram
from dtrak_stream.methods import features_of, find_method
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
from dtrak_stream.scoring.run import score
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.support.cluster import connect
from dtrak_stream.support.cluster_options import own_device
from dtrak_stream.support.durable import durable_path
from dtrak_stream.support.progress import progress, untold

VALIDATION = "validation"
ASKED = {
    **dict.fromkeys(HALVES, HALVES),
    REPEATED: (VALIDATION, REPEATED),
    FULL: (*HALVES, VALIDATION, REPEATED),
}
"""Under which model the images are scored that were not trained on, or that a model generated."""
_FORMAT = 1
Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class ScoringJob:
    """Features of one kind under one model, and the methods that take them; can be sent.

    Attributes
    ----------
    config
        The options.
    model
        Name of the model.
    features
        What a feature is.
    methods
        The methods that take them.
    limit, image_options
        How the pool was read when the full model was trained.
    identity
        What decides the scores besides features and methods: weights and images.
    """

    config: ModelDependenceConfig
    model: str
    features: FeatureOptions
    methods: tuple[str, ...]
    pool: str
    limit: int | None
    image_options: ImageOptions
    identity: str

    @property
    def scores_file(self) -> Path:
        """Return where its scores are kept; other images, weights or options: another file."""
        features = asdict(replace(self.features, device="auto"))
        decisive = repr([_FORMAT, features, self.methods, self.identity])
        name = f"{self.model}-{self.features.output_function}"
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
    images = {FULL: pool.images.identity()}
    for queries in (VALIDATION, *HALVES, REPEATED):
        images[queries] = open_queries(config, pool, queries).identity()
    kinds = feature_kinds(config)
    jobs = []
    for model, asked in ASKED.items():
        weights = weights_digest(model_folder(config, model))
        identity = repr([weights, images[FULL], [images[each] for each in asked]])
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


def feature_kinds(config: ModelDependenceConfig) -> dict[FeatureOptions, list[str]]:
    """Return the different kinds of features, each with the methods that take it."""
    kinds: dict[FeatureOptions, list[str]] = {}
    for name in config.method_names:
        options = FeatureOptions(device=config.where.first_device)
        with untold():
            features = features_of(find_method(name), options)
        kinds.setdefault(features, []).append(name)
    return kinds


def all_scores(jobs: Sequence[ScoringJob], config: ModelDependenceConfig) -> Scores:
    """Return the scores of all jobs, those that earlier calls left behind among them.

    Raises
    ------
    InterruptedRunError
        On Ctrl-C. Finished scores are kept.
    """
    missing = [job for job in jobs if not job.scores_file.exists()]
    done = len(jobs) - len(missing)
    with progress(
        len(jobs), description="scoring", unit="feature set", done=done, visible=not config.quiet
    ) as bar:
        try:
            with connect(config.where, run_scoring_job) as cluster:
                for _ in cluster.run(run_scoring_job, missing):
                    done += 1
                    bar.update()
        except KeyboardInterrupt as interrupt:
            raise InterruptedRunError(
                f"scores of {done} of {len(jobs)} sets of features are kept in {config.work}"
            ) from interrupt
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
    pool = FeaturizeConfig(
        job.pool,
        stores / "pool",
        model_folder(job.config, job.model),
        limit=job.limit,
        features=replace(job.features, device=own_device() or job.features.device),
        image_options=job.image_options,
        quiet=True,
    )
    train, gram = featurize(pool).path, stores / "gram.h5"
    if any(find_method(name).uses_kernel for name in job.methods):
        compute_gram(GramConfig(train, gram, quiet=True))
    found = {}
    for queries in ASKED[job.model]:
        asked = replace(
            pool,
            images=queries_source(job.config, queries),
            store=stores / queries,
            limit=None,
            image_options=job.image_options.elsewhere(None),
        )
        query = featurize(asked).path
        for name in job.methods:
            found[f"{name}/{queries}"] = _scored(name, train, query, gram)
    return found


def _scored(method: str, train: Path, query: Path, gram: Path) -> Matrix:
    """Return all scores of a method, (Q, N)."""
    out = train.parent / "scores.h5"
    options = ScoreOptions(method, top_k=1, save_scores="yes")
    kernel = gram if find_method(method).uses_kernel else None
    score(ScoreConfig(train, query, kernel, out, options, quiet=True))
    with ScoresFile(out) as file:
        scores = file.block(slice(None), slice(None))
    out.unlink()
    if not np.isfinite(scores).all():
        raise InputError(
            f"some of these images have no score by {method}: they have no feature",
            where=f"{train} and {query}",
            remedy="see quarantine.jsonl there, and leave these images out",
        )
    return scores
